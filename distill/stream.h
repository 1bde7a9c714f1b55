// The hidden states of all windows on their way through a model, block after block.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "core/scratch.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

/// [windows, length, hidden], before the block at hand.
class Stream {
 public:
  Stream(const Windows& windows, int64_t hidden, Scratch& scratch)
      : length_(windows.length),
        per_window_(windows.length * hidden),
        states_(scratch.floats(windows.tokens() * hidden)) {}

  /// What follows the rows of the embedding, which `embed` gives, up to the first block.
  void enter(const Windows&, const Architecture&, const std::function<void(std::span<const int32_t>, float*)>& embed);

  float* window(int64_t w) const { return states_.data() + w * per_window_; }
  std::span<const float> states(int64_t w) const { return {window(w), static_cast<size_t>(per_window_)}; }
  int64_t per_window() const { return per_window_; }
  std::vector<float> gather(std::span<const int64_t> which) const {
    std::vector<float> x;
    for (const int64_t w : which) x.insert(x.end(), window(w), window(w) + per_window_);
    return x;
  }
  /// of(how many windows, their states) for the first `count`, some at a time.
  template <class F>
  void for_parts(int64_t count, F&& of) {
    const int64_t most = std::max<int64_t>(1, kTokensAtOnce / length_);
    for (int64_t w = 0; w < count; w += most) of(std::min(most, count - w), window(w));
  }

 private:
  static constexpr int64_t kTokensAtOnce = 2048;
  const int64_t length_, per_window_;
  ScratchArray states_;
};

}  // namespace kerf
