// Where the input channels of some matrices can be rescaled without changing what the model computes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/arch/architecture.h"

namespace kerf {

/// Dividing channel c of the input by s[c] and multiplying column c of every matrix that reads it by s[c] changes
/// nothing; the division is folded into what produces the channel: a norm's weight and bias, or the rows (and bias) of
/// a matrix whose output reaches the input through nothing but products with it (a gate) or averages of it (attention).
struct Fold {
  std::string norm;       // the checkpoint's name of the norm's weight; "" when a matrix produces the channels
  std::string norm_bias;  // of its bias, or ""
  std::string site;       // the checkpoint's name of that matrix, and of its bias
  std::string bias;
  int64_t channels = 0;         // of the producer
  std::vector<int64_t> source;  // input channel c comes from channel source[c] of the producer
};

/// For the input that this matrix and those of its group (input_groups) read. nullopt when anything else reads it,
/// another group too, or when no weight can take the division exactly.
std::optional<Fold> fold_before(const Architecture&, const Site&);

}  // namespace kerf
