// A tokenizer as the tables of a GGUF file, and fitted to the rows of an embedding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// What tokenizer.ggml.* holds beside ids and flags.
struct TokenizerTables {
  std::string model;                // "gpt2" or "llama"
  std::string pre;                  // llama.cpp's name of the pre-tokenizer; "default" for "llama"
  std::vector<std::string> tokens;  // one per row of the embedding
  std::vector<int32_t> types;       // TokenType of each
  std::vector<float> scores;        // of each, for "llama" only
  std::vector<std::string> merges;  // for "gpt2" only
};

/// The tables for an embedding of `rows` rows, as llama.cpp's converter writes them. Rows without a token get
/// "[PAD<id>]", unused. Of what a tokenizer.json says:
///   types   of an added token: control when it is special or looks so (<|...|>, <unused...>, <pad>, <mask>), for which
///           llama.cpp's converter does not trust the file; else user-defined
/// and for spm_bpe without a space prefix (Gemma 3), whose original tables come from a SentencePiece file:
///   tokens  user-defined ones have spaces for U+2581: the runtime seeks them in the text as it stands
///   scores  -1000 of added tokens, 0 of bytes, of the others minus a running number: first the tokens that merges
///           make, in the order of their first merge, then the rest by id. (A token is made when its pair is the
///           neighbouring one of highest score, so only the order among the made ones matters.)
/// With a space prefix (Llama 2) scores are the spec's own, minus the rank of the first merge.
/// Error bad_input when there are no tokens, or more than rows; unsupported when the pre-tokenizer has no name there.
TokenizerTables tokenizer_tables(const TokenizerSpec&, int64_t rows);

/// Takes out added tokens whose ids lie past the rows of the embedding: a text that spells one is then ordinary text.
/// (Gemma 3's tokenizer.json names <image_soft_token>, which the models without images do not embed; a <pad> is often
/// added without a row for it.) unk, pad and ends that lie there are none, and eos is then one of the ends that do not.
/// The spec's remarks say so. Tokens of the model itself, and those that bos, the template or, without another end, eos
/// name, stay, for others to refuse.
void drop_tokens_past(TokenizerSpec&, int64_t rows);

}  // namespace kerf
