// From the spellings of tokens to text.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// Applies the steps to the tokens, one after the other, and joins what is left; without any step the tokens are joined
/// by spaces.
std::string decode_tokens(std::span<const DecoderStep> steps, std::vector<std::string> tokens);

}  // namespace kerf
