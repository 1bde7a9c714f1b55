// Logits of a finished model run, computed where they are needed: tokens x a panel of the vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "model/arch/architecture.h"
#include "model/run/block.h"
#include "model/run/blockwise_forward.h"
#include "model/run/weights.h"
#include "model/text/windows.h"

namespace kerf {

/// The head over the final hidden states of a pass, which must be finished and outlive it.
class Logits {
 public:
  /// The architecture must outlive it, too.
  Logits(const Architecture&, WeightProvider&, const BlockwiseForward&);

  int64_t tokens() const { return static_cast<int64_t>(hidden_.size()) / head_->in; }
  int64_t vocab() const { return head_->out; }
  /// y[t * y_stride + (r - row_begin)] = logit of token id r after token token_begin + t, rounded as the stream is.
  void panel(int64_t token_begin, int64_t tokens, int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) const;

 private:
  void finish(float* y, int64_t row_begin, int64_t rows) const;

  Ops tail_;  // what follows the head: caps, scalings
  std::unique_ptr<OpRunner> runner_;
  std::unique_ptr<Linear> head_;
  std::vector<float> bias_;
  std::span<const float> hidden_;
  Dtype rounding_;
};

/// Log-probabilities log softmax(logits) as a NumPy file (format 1.0) of float32 [windows, length, vocab]; entry
/// [w, t, .] is the distribution of what follows position t of window w. Written as it is computed, some 64 MiB at a
/// time.
void write_logits_npy(const std::filesystem::path&, const Logits&, const Windows&);

}  // namespace kerf
