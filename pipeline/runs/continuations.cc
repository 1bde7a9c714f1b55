#include "pipeline/runs/continuations.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/text/tokenizer.h"
#include "verify/greedy.h"

namespace kerf {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kPromptTokens = 24;

// The first tokens of windows that are evenly spread.
Windows prompts_of(const Windows& windows, int64_t context) {
  const Windows some = spread_windows(windows, std::min(kPrompts, windows.count));
  Windows p{.count = some.count, .length = std::min(kPromptTokens, some.length), .bos = some.bos};
  p.length = std::max<int64_t>(1, std::min(p.length, context - kContinuedTokens));
  for (int64_t i = 0; i < p.count; ++i)
    p.ids.insert(p.ids.end(), some.window(i).begin(), some.window(i).begin() + p.length);
  return p;
}

}  // namespace

ordered_json continuations(const Artifact& original, const Artifact& pruned, const Correspondence& map,
                           const Windows& windows) {
  const Windows prompts = prompts_of(windows, original.architecture.context);
  const int64_t tokens = std::min(kContinuedTokens, original.architecture.context - prompts.length);
  const auto theirs = continue_greedily(original, prompts, tokens);
  const auto mine = continue_greedily(pruned, to_packed_ids(map, prompts, original.architecture.vocab()), tokens);
  const Tokenizer tokenizer(original.tokenizer());
  ordered_json texts = ordered_json::array();
  int64_t same_in_all = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    Windows written{.count = 1, .length = tokens, .ids = mine[i]};
    written = to_original_ids(map, written);
    const auto parted = std::mismatch(theirs[i].begin(), theirs[i].end(), written.ids.begin()).first;
    const int64_t same = parted - theirs[i].begin();
    same_in_all += same;
    texts.push_back({{"prompt", tokenizer.decode(prompts.window(static_cast<int64_t>(i)), true)},
                     {"original", tokenizer.decode(theirs[i], true)},
                     {"pruned", tokenizer.decode(written.ids, true)},
                     {"same_tokens", same}});
  }
  return {{"agree", static_cast<double>(same_in_all) / static_cast<double>(tokens * prompts.count)},
          {"tokens", tokens * prompts.count},
          {"texts", std::move(texts)}};
}

}  // namespace kerf
