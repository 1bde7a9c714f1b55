#include "verify/greedy.h"

#include <algorithm>

#include "model/run/logits.h"

namespace kerf {
namespace {

int32_t most_probable(const Logits& logits, int64_t token) {
  std::vector<float> y(static_cast<size_t>(logits.vocab()));
  logits.panel(token, 1, 0, logits.vocab(), y.data(), logits.vocab());
  return static_cast<int32_t>(std::max_element(y.begin(), y.end()) - y.begin());
}

Windows longer(const Windows& w, const std::vector<int32_t>& next) {
  Windows out{.count = w.count, .length = w.length + 1, .bos = w.bos};
  for (int64_t i = 0; i < w.count; ++i) {
    const std::span<const int32_t> window = w.window(i);
    out.ids.insert(out.ids.end(), window.begin(), window.end());
    out.ids.push_back(next[static_cast<size_t>(i)]);
  }
  return out;
}

}  // namespace

std::vector<std::vector<int32_t>> continue_greedily(const Artifact& a, VerifyMode mode, const Windows& prompts,
                                                    int64_t tokens) {
  std::vector<std::vector<int32_t>> written(static_cast<size_t>(prompts.count));
  const auto weights = weights_of(a, mode);
  Windows w = prompts;
  for (int64_t step = 0; step < tokens; ++step) {
    BlockwiseForward stream(a.architecture, *weights, arithmetic_of(a, mode), w);
    stream.run();
    const Logits logits(a.architecture, *weights, stream);
    std::vector<int32_t> next;
    for (int64_t i = 0; i < w.count; ++i) next.push_back(most_probable(logits, (i + 1) * w.length - 1));
    for (size_t i = 0; i < next.size(); ++i) written[i].push_back(next[i]);
    w = longer(w, next);
  }
  return written;
}

}  // namespace kerf
