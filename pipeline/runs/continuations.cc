#include "pipeline/runs/continuations.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/text/tokenizer.h"
#include "verify/correspondence.h"
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

// Of `theirs`, one list of tokens per prompt, those that another model wrote, too (in the original's ids).
ordered_json compared(const Windows& prompts, const std::vector<std::vector<int32_t>>& theirs,
                      const std::vector<std::vector<int32_t>>& mine, const Tokenizer& tokenizer) {
  ordered_json texts = ordered_json::array();
  int64_t same_in_all = 0, tokens = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    const auto parted = std::mismatch(theirs[i].begin(), theirs[i].end(), mine[i].begin()).first;
    const int64_t same = parted - theirs[i].begin();
    same_in_all += same;
    tokens += std::ssize(theirs[i]);
    texts.push_back({{"prompt", tokenizer.decode(prompts.window(static_cast<int64_t>(i)), true)},
                     {"original", tokenizer.decode(theirs[i], true)},
                     {"packed", tokenizer.decode(mine[i], true)},
                     {"same_tokens", same}});
  }
  return {{"agree", static_cast<double>(same_in_all) / static_cast<double>(tokens)},
          {"tokens", tokens},
          {"texts", std::move(texts)}};
}

}  // namespace

std::vector<ordered_json> continuations(const Artifact& original, std::span<const Artifact* const> packed,
                                        const Windows& windows) {
  const Windows prompts = prompts_of(windows, original.architecture.context);
  const int64_t tokens = std::min(kContinuedTokens, original.architecture.context - prompts.length);
  const auto theirs = continue_greedily(original, prompts, tokens);
  const Tokenizer tokenizer(original.tokenizer());
  std::vector<ordered_json> all;
  for (const Artifact* a : packed) {
    const Correspondence map = read_correspondence(a->path);
    auto mine = continue_greedily(*a, to_packed_ids(map, prompts, original.architecture.vocab()), tokens);
    for (std::vector<int32_t>& ids : mine)
      ids = to_original_ids(map, Windows{.count = 1, .length = tokens, .ids = ids}).ids;
    all.push_back(compared(prompts, theirs, mine, tokenizer));
  }
  return all;
}

}  // namespace kerf
