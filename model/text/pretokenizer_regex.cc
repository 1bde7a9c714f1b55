// PCRE2 with its just-in-time compiler. Its \s knows U+180E as a space, which Unicode took back in 6.3, so \s and \S
// are spelled out.
#include "model/text/pretokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/error.h"

namespace kerf {
namespace {

std::string with_white_space(std::string_view regex) {
  constexpr std::string_view kSpaces =
      R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  std::string out;
  int depth = 0;  // inside [ ]
  for (size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\' && i + 1 < regex.size()) {
      const char d = regex[++i];
      if (d == 's') {
        out += depth > 0 ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
      } else if (d == 'S' && depth == 0) {
        out += "[^" + std::string(kSpaces) + "]";
      } else {
        out += c;
        out += d;
      }
      continue;
    }
    if (c == '[') depth = 1;
    if (c == ']') depth = 0;
    out += c;
  }
  return out;
}

}  // namespace

struct SplitRegex::Code {
  pcre2_code* code = nullptr;
  std::string regex;
  ~Code() { pcre2_code_free(code); }
};

SplitRegex::SplitRegex(const std::string& regex) {
  auto made = std::make_shared<Code>();
  made->regex = regex;
  const std::string pattern = with_white_space(regex);
  int error = 0;
  PCRE2_SIZE offset = 0;
  made->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  if (!made->code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    fail(ErrorKind::bad_input, "pre-tokenizer: cannot compile the regular expression {}: {}", regex,
         reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE);  // without it, matching is slower, not different
  code_ = std::move(made);
}

void SplitRegex::split(std::string_view text, const std::function<void(std::string_view)>& emit) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), pcre2_match_data_free);
  size_t done = 0;  // everything before it is emitted
  for (size_t from = 0; from < text.size();) {
    const int found = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      fail(ErrorKind::unsupported, "pre-tokenizer: matching {} gave up at byte {} (PCRE2 error {})", code_->regex, from,
           found);
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    if (range[1] <= from || range[0] < done || range[0] > range[1]) {  // only \K or a lookbehind can do that
      fail(ErrorKind::unsupported, "pre-tokenizer: {} moves the start of its match", code_->regex);
    }
    if (range[0] > done) emit(text.substr(done, range[0] - done));
    if (range[1] > range[0]) emit(text.substr(range[0], range[1] - range[0]));
    done = from = range[1];
  }
  if (done < text.size()) emit(text.substr(done));
}

}  // namespace kerf
