// The three patterns in use are alternations whose first match at a position can be told from the classes of the next
// one or two characters, so each is a scanner without backtracking, linear in the text.
#include "model/text/pretokenizer.h"

#include <cstdint>
#include <utility>

#include "core/error.h"
#include "model/text/pretokenizer_regex.h"
#include "model/text/unicode.h"

namespace kerf {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using Emit = PreTokenizer::Emit;
using Step = PreTokenizerStep;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

// Classes of the characters of one text. kind: exactly one of letter, number, space, or 0 for the rest.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), classes_(char_classes()) {}

  struct Char {
    unsigned kind;
    size_t next;  // where the character after it begins
  };
  Char at(size_t i) const { return at(i, kLetterClass | kNumberClass | kSpaceClass); }
  Char at(size_t i, unsigned mask) const {
    const auto byte = static_cast<unsigned char>(text_[i]);
    if (byte < 0x80) return {classes_[byte] & mask, i + 1};
    const Utf8Char c = decode_utf8(text_.data() + i);
    return {classes_[c.code] & mask, i + c.bytes};
  }
  /// End of the run of characters of a kind that begins at i.
  size_t run(size_t i, unsigned kind) const {
    while (i < text_.size()) {
      const Char c = at(i);
      if (c.kind != kind) break;
      i = c.next;
    }
    return i;
  }
  bool newline(size_t i) const { return text_[i] == '\n' || text_[i] == '\r'; }
  size_t newlines(size_t i) const {
    while (i < text_.size() && newline(i)) ++i;
    return i;
  }
  /// End of 's 't 're 've 'm 'll 'd beginning with the apostrophe at i, or i. Without regard to case also U+017F, the
  /// long s, which folds to s.
  size_t contraction(size_t i, bool any_case) const {
    const auto letter = [&](size_t k) -> char {
      if (k >= text_.size()) return 0;
      const char c = text_[k];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    };
    const char a = letter(i + 1), b = letter(i + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
    if (any_case && text_.substr(i + 1, 2) == "\xC5\xBF") return i + 3;
    return i;
  }
  /// \s+(?!\S)|\s+ for a run of white space [i, end): all of it at the end of the text, otherwise all but its last
  /// character, unless that is all.
  size_t spaces(size_t i, size_t end) const {
    if (end == text_.size()) return end;
    size_t last = end - 1;
    while ((static_cast<unsigned char>(text_[last]) & 0xC0) == 0x80) --last;
    return last == i ? end : last;
  }

 private:
  std::string_view text_;
  const uint8_t* classes_;
};

void split_gpt2(std::string_view s, const Emit& emit) {
  const Scanner scan(s);
  for (size_t i = 0, end = 0; i < s.size(); i = end) {
    end = i;
    if (s[i] == '\'') end = scan.contraction(i, false);
    if (end == i) {
      const Scanner::Char c = scan.at(i);
      if (c.kind != kSpaceClass) {
        end = scan.run(c.next, c.kind);
      } else if (const Scanner::Char d = s[i] == ' ' && i + 1 < s.size() ? scan.at(i + 1) : c; d.kind != kSpaceClass) {
        end = scan.run(d.next, d.kind);
      } else {
        end = scan.spaces(i, scan.run(c.next, kSpaceClass));
      }
    }
    emit(s.substr(i, end - i));
  }
}

// Llama 3 and Qwen 2: they differ in how many digits make a piece.
void split_llama3(std::string_view s, int digits, const Emit& emit) {
  const Scanner scan(s);
  for (size_t i = 0, end = 0; i < s.size(); i = end) {
    end = i;
    if (s[i] == '\'') end = scan.contraction(i, true);
    if (end == i) {
      const Scanner::Char c = scan.at(i);
      const Scanner::Char d = c.next < s.size() ? scan.at(c.next) : Scanner::Char{kSpaceClass, c.next};
      if (c.kind == kLetterClass) {
        end = scan.run(c.next, kLetterClass);
      } else if (c.kind == kNumberClass) {
        end = c.next;
        for (int n = 1; n < digits && end < s.size(); ++n) {
          const Scanner::Char e = scan.at(end);
          if (e.kind != kNumberClass) break;
          end = e.next;
        }
      } else if (d.kind == kLetterClass && !scan.newline(i)) {
        end = scan.run(d.next, kLetterClass);
      } else if (c.kind == 0) {
        end = scan.newlines(scan.run(c.next, 0));
      } else if (s[i] == ' ' && d.kind == 0) {
        end = scan.newlines(scan.run(d.next, 0));
      } else {
        const size_t stop = scan.run(c.next, kSpaceClass);
        size_t after_newline = stop;
        while (after_newline > i && !scan.newline(after_newline - 1)) --after_newline;
        end = after_newline > i ? after_newline : scan.spaces(i, stop);
      }
    }
    emit(s.substr(i, end - i));
  }
}

void split_digits(std::string_view s, bool individual, const Emit& emit) {
  const Scanner scan(s);
  size_t begin = 0;
  unsigned before = 0;
  for (size_t i = 0; i < s.size();) {
    const Scanner::Char c = scan.at(i, kDigitClass);
    if (i > begin && (c.kind != before || (individual && before))) {
      emit(s.substr(begin, i - begin));
      begin = i;
    }
    before = c.kind;
    i = c.next;
  }
  if (begin < s.size()) emit(s.substr(begin));
}

void split_metaspace(const Step& step, std::string_view piece, bool at_start, const Emit& emit) {
  std::string s;
  s.reserve(piece.size() + piece.size() / 2 + kMetaspace.size());
  for (const char c : piece) {
    if (c == ' ') {
      s += kMetaspace;
    } else {
      s += c;
    }
  }
  const bool prefix = step.prefix == Step::Prefix::always || (step.prefix == Step::Prefix::first && at_start);
  if (prefix && !s.starts_with(kMetaspace)) s.insert(0, kMetaspace);
  size_t begin = 0;
  for (size_t cut = 1; step.split && (cut = s.find(kMetaspace, cut)) != std::string::npos; ++cut) {
    emit(std::string_view(s).substr(begin, cut - begin));
    begin = cut;
  }
  emit(std::string_view(s).substr(begin));
}

// The library's MergedWithPrevious: a match joins the piece on its left, unless that piece is a match itself.
void split_literal(std::string_view what, std::string_view piece, const Emit& emit) {
  size_t begin = 0;
  for (size_t at = 0; (at = piece.find(what, at)) != std::string_view::npos; begin = at) {
    at += what.size();
    emit(piece.substr(begin, at - begin));
  }
  if (begin < piece.size()) emit(piece.substr(begin));
}

Step byte_level(bool use_regex) { return {.kind = Step::Kind::byte_level, .use_regex = use_regex}; }
Step pattern(std::string_view regex) { return {.kind = Step::Kind::pattern, .regex = std::string(regex)}; }

struct Known {
  std::string_view name;
  std::vector<Step> steps;
};
// The first name of equal steps is the one that is written.
const std::vector<Known>& known() {
  static const std::vector<Known> table = [] {
    const std::vector<Step> gpt2 = {byte_level(true)};
    const std::vector<Step> smollm = {{.kind = Step::Kind::digits}, byte_level(true)};
    const std::vector<Step> llama3 = {pattern(kLlama3Pattern), byte_level(false)};
    const std::vector<Step> qwen2 = {pattern(kQwen2Pattern), byte_level(false)};
    // Words that begin anew at a capital: Mistral Nemo; GPT-4o and Llama 4.
    const std::string word = R"([^\r\n\p{L}\p{N}]?)", lower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])",
                      upper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])", ending = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                      rest = R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    const std::vector<Step> tekken = {
        pattern(word + upper + "*" + lower + "+|" + word + upper + "+" + lower + R"(*|\p{N})" + rest),
        byte_level(false)};
    const std::vector<Step> gpt4o = {pattern(word + upper + "*" + lower + "+" + ending + "|" + word + upper + "+" +
                                             lower + "*" + ending + R"(|\p{N}{1,3})" + rest),
                                     byte_level(false)};
    // What llama.cpp does when a file names no pre-tokenizer.
    const std::vector<Step> fallback = {pattern(R"([\p{P}\$\+<=>\^~\|]+)"), pattern(kGpt2Pattern), pattern(R"(\p{N}+)"),
                                        pattern("[0-9][0-9][0-9]"), byte_level(false)};
    return std::vector<Known>{
        {"gpt-2", gpt2},       {"smollm", smollm},
        {"llama-bpe", llama3}, {"qwen2", qwen2},
        {"default", fallback}, {"tekken", tekken},
        {"gpt-4o", gpt4o},     {"llama4", gpt4o},
        {"phi-2", gpt2},       {"mpt", gpt2},
        {"olmo", gpt2},        {"jais", gpt2},
        {"starcoder", smollm}, {"refact", smollm},
        {"command-r", smollm}, {"llama3", llama3},
        {"llama-v3", llama3},  {"falcon3", llama3},
        {"smaug-bpe", llama3}, {"dbrx", llama3},
        {"stablelm2", qwen2},  {"deepseek-r1-qwen", qwen2},
        {"megrez", qwen2},
    };
  }();
  return table;
}

}  // namespace

std::string pre_tokenizer_name(const std::vector<Step>& steps) {
  for (const Known& k : known()) {
    if (k.steps == steps) return std::string(k.name);
  }
  return "";
}

std::vector<Step> pre_tokenizer_steps(std::string_view name) {
  std::string names;
  for (const Known& k : known()) {
    if (k.name == name) return k.steps;
    names += names.empty() ? "" : ", ";
    names += k.name;
  }
  fail(ErrorKind::unsupported, "unknown pre-tokenizer \"{}\" (tokenizer.ggml.pre); kerf knows {}", name, names);
}

struct PreTokenizer::Regex : SplitRegex {
  using SplitRegex::SplitRegex;
};

PreTokenizer::PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)), regexes_(steps_.size()) {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.kind == Step::Kind::byte_level) {
      if (i + 1 != steps_.size()) fail(ErrorKind::unsupported, "pre-tokenizer: ByteLevel must be the last step");
      bytes_ = true;
    }
    if (step.kind == Step::Kind::pattern && step.regex != kGpt2Pattern && step.regex != kLlama3Pattern &&
        step.regex != kQwen2Pattern) {
      regexes_[i] = std::make_shared<const Regex>(step.regex);
    }
  }
}

void PreTokenizer::split(std::string_view piece, bool at_start, const Emit& emit) const {
  if (!piece.empty()) run(0, piece, at_start, emit);
}

void PreTokenizer::run(size_t i, std::string_view piece, bool at_start, const Emit& emit) const {
  if (i == steps_.size()) return emit(piece);
  const Step& step = steps_[i];
  const bool last = i + 1 == steps_.size() ||
                    (i + 2 == steps_.size() && steps_[i + 1].kind == Step::Kind::byte_level &&
                     !steps_[i + 1].use_regex && !steps_[i + 1].add_prefix_space);  // that step would change nothing
  const char* begin = piece.data();
  const Emit below =
      last ? Emit() : Emit([&](std::string_view s) { run(i + 1, s, at_start && s.data() == begin, emit); });
  const Emit& next = last ? emit : below;
  switch (step.kind) {
    case Step::Kind::byte_level: {
      std::string prefixed;
      if (step.add_prefix_space && piece[0] != ' ') {
        prefixed = " " + std::string(piece);
        piece = prefixed;
      }
      if (step.use_regex) return split_gpt2(piece, next);
      return next(piece);
    }
    case Step::Kind::digits:
      return split_digits(piece, step.individual_digits, next);
    case Step::Kind::literal:
      return split_literal(step.regex, piece, next);
    case Step::Kind::metaspace:
      return split_metaspace(step, piece, at_start, next);
    case Step::Kind::pattern:
      if (regexes_[i]) return regexes_[i]->split(piece, next);
      if (step.regex == kGpt2Pattern) return split_gpt2(piece, next);
      return split_llama3(piece, step.regex == kLlama3Pattern ? 3 : 1, next);
  }
}

}  // namespace kerf
