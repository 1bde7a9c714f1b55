// Text to token ids and back, with the ids that the Hugging Face `tokenizers` library gives.
//
// encode: added tokens are cut out of the text, the rest is normalised, cut into words (model/text/pretokenizer.h), and
// each word is merged by byte-pair encoding: of all adjacent pairs with a merge the one of lowest rank, leftmost first,
// until none is left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/text/pretokenizer.h"

namespace kerf {

/// llama.cpp's numbering (tokenizer.ggml.token_type).
enum class TokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// A token recognised in the text before merging, with the flags of tokenizer.json.
struct AddedToken {
  int32_t id = 0;
  std::string content = {};
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space on its left along
  bool rstrip = false;       // ... on its right
  bool normalized = false;   // sought in the normalised text, in its normalised form
  bool special = false;      // left out by decode(..., skip_special)
  bool in_model = false;     // also one of the tokens that words are merged into
};

/// Changes made to the text before words are cut: tokenizer.json's `normalizer`, in order.
struct NormalizerStep {
  enum class Kind { nfc, prepend, replace };
  Kind kind = Kind::nfc;
  std::string pattern = {};  // replace: what is replaced, literally
  std::string content = {};  // prepend, replace: by what
  bool operator==(const NormalizerStep&) const = default;
};

/// tokenizer.json's `decoder`, in order.
struct DecoderStep {
  enum class Kind { byte_level, replace, byte_fallback, fuse, strip, metaspace };
  Kind kind = Kind::byte_level;
  std::string pattern = {};     // replace
  std::string content = {};     // replace: by what; strip: the character
  int64_t start = 0, stop = 0;  // strip: how many at most at either end
  bool prefix = true;           // metaspace: the first token loses its U+2581
  bool operator==(const DecoderStep&) const = default;
};

/// A tokenizer as data, whatever file it came from: enough to tokenise, and to write the keys of a GGUF file.
struct TokenizerSpec {
  enum class Kind {
    byte_level_bpe,  // tokens spell bytes as GPT-2's 256 letters; tokenizer.ggml.model = gpt2
    spm_bpe,         // tokens spell characters, U+2581 for a space, <0xNN> for bytes; tokenizer.ggml.model = llama
  };
  Kind kind = Kind::byte_level_bpe;
  /// llama.cpp's name of the pre-tokenizer, such as "smollm"; "" for spm_bpe and where it has none.
  std::string pre = {};

  // By id. A hole in the numbering is the token "[PADn]", unused.
  std::vector<std::string> tokens = {};
  std::vector<TokenType> types = {};
  /// spm_bpe: minus the rank of the merge that makes the token, 0 for a character.
  std::vector<float> scores = {};
  /// "left right", best first. spm_bpe without merges merges by score, as llama.cpp does.
  std::vector<std::string> merges = {};

  // As the files name them. unk is a name: what a text becomes without one is model_unk.
  std::optional<int32_t> bos = {}, eos = {}, unk = {}, pad = {};
  /// Tokens beside eos that end a text: eos_token_id of generation_config.json and config.json, eot and eom of GGUF.
  std::vector<int32_t> ends = {};
  /// Texts that end one: stop_strings of generation_config.json.
  std::vector<std::string> stop_strings = {};
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;   // spm_bpe: U+2581 goes in front of the text
  std::string chat_template = {};  // Jinja text, for model/chat/chat_template.h
  /// What a chat template calls the special tokens: ("bos_token", "<s>").
  std::vector<std::pair<std::string, std::string>> named_tokens = {};

  // The rest has no GGUF key. Tokenizer(spec) fills what is empty with what the fields above imply.
  std::vector<AddedToken> added = {};
  std::vector<NormalizerStep> normalizer = {};
  std::vector<PreTokenizerStep> pre_tokenizer = {};
  std::vector<DecoderStep> decoder = {};
  std::vector<int32_t> prefix = {}, suffix = {};  // ids that encode(..., add_special) puts around a text
  bool byte_fallback = false, fuse_unk = false, ignore_merges = false;
  /// For a character that no token spells; without one it is left out.
  std::optional<int32_t> model_unk = {};
  /// The model's unk_token where its vocabulary has none of that name. The library refuses texts that need it.
  std::string missing_unk = {};
  /// What the files say and kerf does not follow, a sentence each.
  std::vector<std::string> remarks = {};
  bool from_json = false;  // every field says what tokenizer.json said; nothing is implied
};

/// Reads tokenizer.json, and beside it tokenizer_config.json, special_tokens_map.json, added_tokens.json,
/// generation_config.json and config.json as far as they exist, for the special tokens (as AutoTokenizer of
/// transformers 5.23 reads them), and the chat template from chat_template.jinja, chat_template.json or
/// tokenizer_config.json. Ids in generation_config.json and config.json are taken where tokenizer_config.json names no
/// such token; -1 is none, and ids of the embedding's rows without a token are tokens "[PADn]".
/// Error io when there is no tokenizer.json, bad_input when it is damaged or contradicts itself, unsupported when it
/// asks for a model, normalizer, pre-tokenizer, post-processor or decoder that kerf does not know (the sentence lists
/// those it does). `truncation` and `padding` are ignored: kerf always wants the whole text.
TokenizerSpec read_tokenizer_spec(const std::filesystem::path& directory);

/// The files named above, their texts by name.
using TokenizerFiles = std::map<std::string, std::string>;
/// Those that exist. Error io when there is no tokenizer.json.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& directory);
/// read_tokenizer_spec of files in memory; `directory` is what errors say they lie in.
TokenizerSpec parse_tokenizer_files(const TokenizerFiles&, const std::filesystem::path& directory);
/// The same from the text of a tokenizer.json alone; `name` is what errors call it.
TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& name);

/// Immutable and safe to use from several threads.
class Tokenizer {
 public:
  static Tokenizer from_directory(const std::filesystem::path& directory);
  /// E.g. from the keys of a GGUF file: `added` is then taken from the types, the rest from `kind` and `pre`.
  /// Error bad_input or unsupported for data that is inconsistent.
  explicit Tokenizer(TokenizerSpec);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// The ids of a text. Special tokens written in the text become their ids. `add_special`: with what the template puts
  /// around a text (usually BOS in front). Error bad_input with the byte offset when the text is not UTF-8. Time n log
  /// n.
  std::vector<int32_t> encode(std::string_view utf8, bool add_special) const;
  /// The text of ids; ids that name no token are passed over; bytes that are no UTF-8 become U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  const TokenizerSpec& spec() const;
  int64_t vocab_size() const { return static_cast<int64_t>(spec().tokens.size()); }
  /// The id of a token as spec().tokens spells it.
  std::optional<int32_t> find(std::string_view token) const;
  /// The two tokens of the last merge by which a token is made, nullopt for one that merging its own spelling does not
  /// make: a character, a byte, an added token. Merges never cross the ends of a token that is there in the end, so it
  /// is made by the same merges in every text.
  std::optional<std::pair<int32_t, int32_t>> last_merge(int32_t id) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace kerf
