#include "distill/teacher.h"

#include <algorithm>

#include "model/run/fast_linear.h"

namespace kerf {
Teacher::Teacher(const Architecture& a, const TensorSource& source, const Windows& windows, Scratch& scratch,
                 const std::function<void(int64_t)>& after_block, std::vector<int32_t> kept)
    : arch_(a),
      length_(windows.length),
      kept_(std::move(kept)),
      weights_(dense_weights(a, source)),
      blocks_(a, *weights_, Arithmetic{}, windows, &scratch),
      head_(load_fast_ops(a, *weights_, source, a.after, -1)),
      tail_(a, a.after, fast_arithmetic(), 1) {
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    blocks_.run_block(layer);
    if (after_block) after_block(layer);
  }
}

std::span<const float> Teacher::logits(std::span<const int64_t> windows, int64_t begin, int64_t count) {
  const int64_t hidden = arch_.hidden();
  rows_.clear();
  for (int64_t t = begin; t < begin + count;) {  // a window at a time
    const int64_t at = t % length_, n = std::min(length_ - at, begin + count - t);
    const float* from = blocks_.hidden().data() + (windows[static_cast<size_t>(t / length_)] * length_ + at) * hidden;
    rows_.insert(rows_.end(), from, from + n * hidden);
    t += n;
  }
  const std::span<const float> y = tail_.forward(head_, count, rows_);
  if (kept_.empty()) return y;
  of_kept_.resize(static_cast<size_t>(count) * kept_.size());
  for (int64_t t = 0; t < count; ++t)
    for (size_t i = 0; i < kept_.size(); ++i)
      of_kept_[static_cast<size_t>(t) * kept_.size() + i] = y[static_cast<size_t>(t * arch_.vocab() + kept_[i])];
  return of_kept_;
}

Divergence Teacher::divergence(std::vector<int64_t> windows) {
  return Divergence(
      [this, windows = std::move(windows)](int64_t begin, int64_t count) { return logits(windows, begin, count); });
}

}  // namespace kerf
