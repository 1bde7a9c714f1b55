// Many texts written at once, a token each at a time, over a cache of keys and values.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/run/block.h"

namespace kerf {

/// Products are those of model/run/fast_linear.h. Memory: all weights (2 bytes each where bf16 is fast, else 4), and
/// keys and values of `texts` x `longest` tokens in float32. Architecture and source must outlive it.
class Decoder {
 public:
  Decoder(const Architecture&, const TensorSource&, int64_t texts, int64_t longest);
  ~Decoder();

  /// Logits [texts, vocab] of what follows, once each text has got its next token; valid until the next call. Error
  /// internal past `longest` tokens. Results do not depend on the number of threads.
  std::span<const float> next(std::span<const int32_t> ids);
  /// New texts.
  void restart();

 private:
  struct Group;
  const Architecture& arch_;
  const int64_t texts_;
  std::unique_ptr<WeightProvider> weights_;
  std::vector<BlockWeights> blocks_;  // of each layer
  BlockWeights after_;
  const Ops entry_;  // what follows the rows of the embedding
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<float> rows_, logits_;
};

}  // namespace kerf
