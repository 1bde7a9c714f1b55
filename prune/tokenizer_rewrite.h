// The files of a tokenizer with some of its tokens, renumbered.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// Ids that the post-processor and the padding of a tokenizer.json name.
std::vector<int64_t> template_ids(std::string_view tokenizer_json, const std::string& name);

/// The files with the kept tokens alone (prune/vocabulary.h). `spec` is what parse_tokenizer_files() makes of them.
TokenizerFiles rewritten_files(const TokenizerFiles&, const std::string& name, const TokenizerSpec& spec,
                               std::span<const int32_t> kept, int64_t rows);

}  // namespace kerf
