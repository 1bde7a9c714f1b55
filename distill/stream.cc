#include "distill/stream.h"

#include "model/run/block.h"
#include "model/run/fast_linear.h"

namespace kerf {

void Stream::enter(const Windows& windows, const Architecture& a,
                   const std::function<void(std::span<const int32_t>, float*)>& embed) {
  const Ops entry = a.after_embedding();
  const BlockWeights none{.ops = std::vector<BlockWeights::OfOp>(entry.size()), .sites = {}};
  const OpRunner runner(a, entry, fast_arithmetic(), windows.length);
  for (int64_t w = 0; w < windows.count; ++w) {
    embed(windows.window(w), window(w));
    if (!entry.empty()) runner.run(none, 1, window(w));
  }
}

}  // namespace kerf
