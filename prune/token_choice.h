// Which tokens of a byte-pair vocabulary are kept: closures, and the most useful ones (prune/vocabulary.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// Why a token is kept.
enum class Keep : uint8_t { no, added, alphabet, named, used, part, rest };

/// Tokens that stand for one byte; characters that no byte tokens spell; characters that the normalizer puts into
/// texts.
std::vector<int32_t> alphabet_of(const Tokenizer&);

/// Adds what the kept tokens are made of.
void keep_parts(const Tokenizer&, std::span<Keep> keep);

/// Adds tokens until `most` of those below `rows` are kept: from all of the model but `never`, those whose loss
/// lengthens the texts least are taken away. `counts`: how often the texts use each.
/// REQUIRES: `keep` is closed (keep_parts) and has at most `most` below `rows`. Error usage when there are fewer to
/// keep.
void keep_most_useful(const Tokenizer&, std::span<const int64_t> counts, int64_t most, int64_t rows,
                      const std::vector<bool>& never, std::span<Keep> keep);

}  // namespace kerf
