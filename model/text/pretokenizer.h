// Cutting text into words, inside which byte-pair merges happen: the `pre_tokenizer` of tokenizer.json.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

/// One step. Steps follow each other: each cuts the pieces that the one before made.
struct PreTokenizerStep {
  enum class Kind {
    byte_level,  // GPT-2: a space in front if add_prefix_space and none is there; the GPT-2 pattern if use_regex. What
                 // comes after it sees bytes, so it must be the last step.
    digits,      // numeric characters apart from the rest: each alone, or runs of them
    pattern,     // every match of `regex` is a piece, and so is what lies between matches
    literal,  // every occurrence of `regex`, taken literally, ends a piece; one right behind another is a piece of its
              // own
    metaspace,  // ' ' becomes U+2581, one in front by `prefix` unless one is there, cut before each if `split`
  };
  enum class Prefix { always, first, never };

  Kind kind = Kind::byte_level;
  bool add_prefix_space = false;
  bool use_regex = true;
  bool individual_digits = true;
  std::string regex = {};
  Prefix prefix = Prefix::always;
  bool split = true;

  bool operator==(const PreTokenizerStep&) const = default;
};

/// The patterns with hand-written scanners, as tokenizer.json spells them.
extern const std::string_view kGpt2Pattern, kLlama3Pattern, kQwen2Pattern;

/// llama.cpp's name for these steps (tokenizer.ggml.pre): "gpt-2", "smollm", "llama-bpe", "qwen2", ...; "" when kerf
/// knows none that cuts the same.
std::string pre_tokenizer_name(const std::vector<PreTokenizerStep>&);
/// The steps of a pre-tokenizer known by llama.cpp's name. Error unsupported, with the known names, for another.
std::vector<PreTokenizerStep> pre_tokenizer_steps(std::string_view name);

/// Cuts valid UTF-8 into words. The patterns above run through scanners written by hand, other regular expressions
/// through PCRE2, whose Unicode is older than the library's (letters assigned after Unicode 14 count as none there).
/// Thread-safe.
class PreTokenizer {
 public:
  /// Error bad_input for a regular expression that does not compile.
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);

  using Emit = std::function<void(std::string_view word)>;
  /// Calls emit for every word in order; no word is empty. `at_start`: whether the piece begins the text.
  void split(std::string_view piece, bool at_start, const Emit& emit) const;

  bool bytes() const { return bytes_; }

 private:
  struct Regex;
  void run(size_t step, std::string_view piece, bool at_start, const Emit& emit) const;

  std::vector<PreTokenizerStep> steps_;
  std::vector<std::shared_ptr<const Regex>> regexes_;  // parallel to steps_; null for those with a scanner
  bool bytes_ = false;
};

}  // namespace kerf
