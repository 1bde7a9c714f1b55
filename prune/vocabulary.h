// A tokenizer cut down to the tokens that given texts need: the rows of embedding and head that go are the largest part
// of many a small model.
//
// A byte-pair tokenizer is a set of tokens and the merges among them. A set K is closed when, of each of its tokens, it
// holds the two that the last merge of that token joins. Of a closed K with all original merges among its tokens:
// a text whose original tokens all lie in K is spelled by those same tokens. (By induction over the merges made in it:
// the best one is among those that are left, and what is left is a subset.) Every other text is still spelled, in
// shorter tokens, because K holds every byte, or every character that no bytes can spell.
//
// Without a limit K is the closure of what the texts use. With one it is made from above: of the tokens that no other
// is made of, the one whose loss lengthens the texts least goes, and its occurrences pass to its two parts, until
// `most` are left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// What of a tokenizer is kept.
struct VocabularyRequest {
  /// UTF-8. Those of a model for chats should hold chats as its template renders them.
  std::vector<std::string> texts = {};
  /// Rows that are left, everything counted; 0: as many as the texts use.
  int64_t most = 0;
  /// Rows of the embedding; tokens past them keep their place behind the last row. 0: one for every token.
  int64_t rows = 0;
};

/// Why tokens are kept: each token is counted once, under the first that applies.
struct KeptTokens {
  int64_t added = 0;     // special and other added tokens
  int64_t alphabet = 0;  // bytes, and characters that no bytes spell
  int64_t named = 0;     // by the files, or spelled by the chat template's texts
  int64_t used = 0;      // by the texts, with `most` also for others that went
  int64_t parts = 0;     // of those, as merges build them
  int64_t rest = 0;      // with `most` only: no text uses them, but there was room
  int64_t all() const { return added + alphabet + named + used + parts + rest; }
};

/// {"added": ..., "rest": ...}
nlohmann::ordered_json to_json(const KeptTokens&);

/// How long texts are.
struct TextLength {
  int64_t characters = 0, tokens = 0;
  double tokens_per_character() const {
    return characters > 0 ? static_cast<double>(tokens) / static_cast<double>(characters) : 0;
  }
};
TextLength length_of(const Tokenizer&, std::string_view text);

struct TrimmedVocabulary {
  /// The original's ids, strictly increasing; a new id is the position in it.
  std::vector<int32_t> kept;
  /// How many of them have a row, the first ones: row i of the new embedding is row kept[i] of the old.
  int64_t rows = 0;
  /// The files that were given, rewritten where they hold ids.
  TokenizerFiles files;

  int64_t tokens = 0;             // of the original, without holes in its numbering
  int64_t fillers = 0;            // of those that went: reserved ones that nothing mentions
  KeptTokens because;             // why the others stayed
  TextLength before = {}, after;  // of the texts
};

/// Trims the tokenizer in `files` (read_tokenizer_files()); `name` is the folder that errors speak of. Kept are
///   added tokens, except fillers (<unused7>, <|reserved_special_token_7|>, [PAD7]) that neither texts nor files
///   mention bytes; characters that no byte tokens spell, and those that the normalizer puts in what config.json,
///   generation_config.json and the template of tokenizer.json name, and the chat template's texts what the texts use,
///   or the most useful of it; and what these are made of.
/// tokenizer.json and tokenizer_config.json change only where vocabulary, merges, added tokens and ids stand, byte for
/// byte; the chat template not at all. vocab.json and merges.txt are made anew from tokenizer.json. Other files are
/// given back as they are. The new files are read again, and both tokenizers compared on the tokens and, without a
/// limit, on the texts. The same input gives the same bytes. One thread; about twice the time of encoding the texts.
/// Error bad_input for texts that use no token; usage for `most` below what must be kept (the sentence says how much)
/// or above what there is; unsupported for models other than BPE, and for ids that the tokenizers library would not
/// give again.
TrimmedVocabulary trim_vocabulary(const TokenizerFiles& files, const std::string& name, const VocabularyRequest&);

/// What the rewritten files say, without added tokens that have no row; errors speak of `folder`.
TokenizerSpec spec_of(const TrimmedVocabulary&, const std::filesystem::path& folder);

/// Files of a repository that hold a vocabulary in a form that is not rewritten (tokenizer.model, tiktoken.model, ...):
/// beside a trimmed tokenizer they would be wrong.
bool is_other_vocabulary(std::string_view file_name);

/// config.json or generation_config.json with the ids of tokens renumbered, at any depth: <name>_token_id, _token_ids
/// and _token_index, forced_decoder_ids, force_words_ids, suppress_tokens, begin_suppress_tokens, bad_words_ids,
/// sequence_bias, lang_to_id, task_to_id. Of lists, entries with a token that is gone are left out; a single id that is
/// gone becomes null. `vocab_size`, there and in text_config, becomes `rows`.
nlohmann::ordered_json renumbered_ids(nlohmann::ordered_json config, std::span<const int32_t> kept, int64_t rows);

}  // namespace kerf
