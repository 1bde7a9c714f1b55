// Where the input channels of some linears can be rescaled without changing what the model computes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/arch/architecture.h"

namespace kerf {

/// Dividing channel c of the input by s[c] and multiplying column c of every linear that reads it by s[c] changes
/// nothing; the division is folded into what produces the channel: a norm's weight, or the rows (and bias) of a linear
/// whose output reaches the input through nothing but products with it (a gate) or averages of it (attention).
struct Fold {
  std::string norm;  // the checkpoint's name of the norm's weight; "" when a linear produces the channels
  std::string site;  // the checkpoint's name of that linear's weight, and of its bias
  std::string bias;
  int64_t channels = 0;         // of the producer
  std::vector<int64_t> source;  // input channel c comes from channel source[c] of the producer
};

/// For the input that this linear and its fused companions read. nullopt when another operation reads it too, or when
/// what produces it is neither.
std::optional<Fold> fold_before(const Architecture&, const Site&);

}  // namespace kerf
