// Text up to the next {{, {% or {#, then the tokens of the tag, in turn. White space rules (trim_blocks and
// lstrip_blocks on): a block or comment that is alone on its line takes the spaces before it and one line end after it
// along; a minus at a tag takes all white space on that side, a plus none.
#include "model/chat/jinja_lexer.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "model/chat/jinja_text.h"
#include "model/text/unicode.h"

namespace kerf::jinja {
namespace {

using Kind = Token::Kind;

// Line ends become \n, and one at the end of the template goes.
std::string unify_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class Lexer {
 public:
  Lexer(Run& run, std::string source) : run_(run), source_(std::move(source)) {}

  std::vector<Token> all() {
    run_.line = 1;
    while (at_ < source_.size()) text();
    add(Kind::end);
    return std::move(tokens_);
  }

 private:
  bool ahead(std::string_view s, size_t at) const { return std::string_view(source_).substr(at).starts_with(s); }
  bool ahead(std::string_view s) const { return ahead(s, at_); }
  void move_to(size_t at) {
    run_.line += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(at), '\n'));
    at_ = at;
  }
  size_t after_spaces(size_t at) const {
    while (at < source_.size()) {
      const Utf8Char c = decode_utf8(source_.data() + at);
      if (!is_space(c.code)) break;
      at += c.bytes;
    }
    return at;
  }
  Token& add(Kind kind, std::string s = {}) {
    run_.spend(sizeof(Token) + s.size());
    tokens_.push_back({.kind = kind, .text = std::move(s), .line = run_.line});
    return tokens_.back();
  }

  // Text before a tag (of kind '{', '%' or '#', with the sign behind it).
  void add_text(std::string_view s, char tag, char sign) {
    if (sign == '-') {
      s = strip(s, std::nullopt, Ends::right);
    } else if (sign != '+' && tag != '{') {
      const size_t newline = s.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if (line > 0 || line_starting_)
        if (strip(s.substr(line), std::nullopt, Ends::left).empty()) s = s.substr(0, line);
    }
    if (!s.empty()) add(Kind::data, std::string(s));
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : ' ';
  }

  void text() {
    size_t tag = at_;
    while ((tag = source_.find('{', tag)) != std::string::npos) {
      if (tag + 1 < source_.size() && std::string_view("{%#").find(source_[tag + 1]) != std::string_view::npos) break;
      ++tag;
    }
    if (tag == std::string::npos) {
      add(Kind::data, source_.substr(at_));
      return move_to(source_.size());
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_text(std::string_view(source_).substr(at_, tag - at_), kind, sign);
    move_to(tag);
    if (kind == '%') {
      if (const size_t end = raw_begin(tag)) {
        move_to(end);
        return raw();
      }
    }
    move_to(tag + (sign == ' ' ? 2 : 3));
    if (kind == '#') return comment();
    add(kind == '%' ? Kind::block_begin : Kind::variable_begin);
    inside(kind == '%');
  }

  // Behind the end of a tag whose closing mark (without sign) begins at `mark`: where the text goes on.
  size_t behind(size_t mark, char sign, bool trims) {
    size_t end = mark + 2;
    if (sign == '-')
      end = after_spaces(end);
    else if (sign != '+' && trims && end < source_.size() && source_[end] == '\n')
      ++end;
    line_starting_ = source_[end - 1] == '\n';
    return end;
  }

  void comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) run_.wrong("a comment that does not end");
    const char sign = close > at_ ? sign_at(close - 1) : ' ';
    move_to(behind(close, sign, true));
  }

  // Where the text of {% raw %} at `tag` begins; 0 when that is another tag.
  size_t raw_begin(size_t tag) {
    size_t at = tag + 2;
    if (sign_at(at) != ' ') ++at;
    at = after_spaces(at);
    if (!ahead("raw", at)) return 0;
    at = after_spaces(at + 3);
    if (ahead("-%}", at)) return behind(at + 1, '-', false);
    if (ahead("%}", at)) return behind(at, ' ', false);
    return 0;
  }

  void raw() {
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      size_t at = after_spaces(tag + (sign == ' ' ? 2 : 3));
      if (!ahead("endraw", at)) continue;
      at = after_spaces(at + 6);
      const char end_sign = sign_at(at);
      if (end_sign != ' ') ++at;
      if (!ahead("%}", at)) continue;
      add_text(std::string_view(source_).substr(at_, tag - at_), '%', sign);
      return move_to(behind(at, end_sign, true));
    }
    run_.wrong("{{% raw %}} without {{% endraw %}}");
  }

  // The tokens of a tag up to its end.
  void inside(bool block) {
    const std::string_view mark = block ? "%}" : "}}";
    std::string open;  // the brackets that are open
    while (true) {
      if (open.empty()) {
        // A plus at the end of a variable is the operator: only blocks take it as a sign.
        const bool signed_end = (ahead("-") || (block && ahead("+"))) && ahead(mark, at_ + 1);
        if (signed_end || ahead(mark)) {
          const size_t end = behind(at_ + (signed_end ? 1 : 0), signed_end ? source_[at_] : ' ', block);
          add(block ? Kind::block_end : Kind::variable_end);
          return move_to(end);
        }
      }
      if (const size_t next = after_spaces(at_); next != at_) {
        move_to(next);
        continue;
      }
      if (at_ >= source_.size()) run_.wrong("the template ends inside of a tag");
      const char c = source_[at_];
      if (is_digit(c))
        number();
      else if (is_name_start(c))
        name();
      else if (c == '\'' || c == '"')
        string();
      else
        op(open);
    }
  }

  void name() {
    size_t end = at_;
    while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
    if (end < source_.size() && static_cast<unsigned char>(source_[end]) >= 0x80)
      run_.unsupported("a name with a letter outside of ASCII");
    add(Kind::name, source_.substr(at_, end - at_));
    move_to(end);
  }

  // Digits with single underscores between them, from `at`; returns the end.
  size_t digits(size_t at) const {
    while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && is_digit(source_[at - 1]) &&
                                                             at + 1 < source_.size() && is_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void number() {
    if (source_[at_] == '0' && at_ + 1 < source_.size() && is_name_start(source_[at_ + 1]) && source_[at_ + 1] != 'e' &&
        source_[at_ + 1] != 'E')
      run_.unsupported("a number that is not written in decimal");
    const size_t whole = digits(at_);
    size_t end = whole;
    if (at_ == 0 || source_[at_ - 1] != '.') {  // x.0.1 is two subscripts
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) end = digits(end + 1);
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && is_digit(source_[exponent])) end = digits(exponent);
      }
    }
    std::string spelled = source_.substr(at_, end - at_);
    std::erase(spelled, '_');
    if (end > whole) {
      add(Kind::floating).floating = std::strtod(spelled.c_str(), nullptr);
    } else {
      int64_t value = 0;
      if (std::from_chars(spelled.data(), spelled.data() + spelled.size(), value).ec != std::errc())
        run_.unsupported("the integer {}, which has more than 64 bits", spelled.substr(0, 40));
      if (spelled.size() > 1 && spelled[0] == '0' && value != 0) run_.wrong("the integer {} with a leading 0", spelled);
      add(Kind::integer).integer = value;
    }
    move_to(end);
  }

  void op(std::string& open) {
    static constexpr std::string_view kOps[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(std::begin(kOps), std::end(kOps), [&](auto s) { return ahead(s); });
    if (found == std::end(kOps)) {
      const size_t n = decode_utf8(source_.data() + at_).bytes;
      run_.wrong("unexpected character {}", quoted(std::string_view(source_).substr(at_, n)));
    }
    static constexpr std::string_view kOpening = "([{", kClosing = ")]}";
    if (kOpening.find(*found) != std::string_view::npos) open += *found;
    if (const size_t k = kClosing.find(*found); k != std::string_view::npos) {
      if (open.empty() || open.back() != kOpening[k]) run_.wrong("'{}' closes nothing", *found);
      open.pop_back();
    }
    add(Kind::op, std::string(*found));
    move_to(at_ + found->size());
  }

  void string() {
    const char quote = source_[at_];
    std::string value;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote;) {
      if (source_[i] != '\\')
        value += source_[i++];
      else
        i = escape(i + 1, value);
    }
    if (i >= source_.size()) run_.wrong("a string that does not end");
    add(Kind::string, std::move(value));
    move_to(i + 1);
  }

  // Resolves the escape whose letter stands at i; returns where it ends. An unknown letter keeps its backslash.
  size_t escape(size_t i, std::string& value) {
    if (i >= source_.size()) run_.wrong("a string that does not end");
    static constexpr std::string_view kLetters = "ntrabfv\\'\"", kMeaning = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[i];
    if (const size_t k = kLetters.find(c); k != std::string_view::npos) {
      value += kMeaning[k];
      return i + 1;
    }
    if (c == '\n') return i + 1;
    if (c == 'x') return code_point(i + 1, 2, 16, value);
    if (c == 'u') return code_point(i + 1, 4, 16, value);
    if (c == 'U') return code_point(i + 1, 8, 16, value);
    if (c >= '0' && c <= '7') {
      size_t n = 1;
      while (n < 3 && i + n < source_.size() && source_[i + n] >= '0' && source_[i + n] <= '7') ++n;
      return code_point(i, n, 8, value);
    }
    if (c == 'N' || static_cast<unsigned char>(c) >= 0x80)
      run_.unsupported("a backslash before {} in a string", c == 'N' ? "N" : "a character outside of ASCII");
    value += {'\\', c};
    return i + 1;
  }

  size_t code_point(size_t i, size_t count, int base, std::string& value) {
    uint32_t code = 0;
    const char* begin = source_.data() + i;
    const size_t n = std::min(count, source_.size() - i);
    const auto read = std::from_chars(begin, begin + n, code, base);
    if (read.ec != std::errc() || read.ptr != begin + count) run_.wrong("an escape that needs {} digits", count);
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      run_.unsupported("the escape of U+{:04X}, which is no character", code);
    append_utf8(value, code);
    return i + count;
  }

  Run& run_;
  const std::string source_;
  size_t at_ = 0;
  bool line_starting_ = true;  // the last tag ended with a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(Run& run, std::string_view source) {
  run.spend(source.size());
  return Lexer(run, unify_lines(source)).all();
}

}  // namespace kerf::jinja
