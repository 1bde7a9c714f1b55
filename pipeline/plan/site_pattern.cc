// PCRE2 with the options that make it read JavaScript's syntax. It is matched by the interpreter, whose steps and
// memory are limited: a recipe may come from anywhere.
#include "pipeline/plan/site_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "core/error.h"

namespace kerf {
namespace {

constexpr uint32_t kMostSteps = 100'000;  // of backtracking; a name has some 50 characters
constexpr uint32_t kMostMemory = 16'384;  // KiB

// * and ? of a glob; the place behind the last star is tried again one character later when the rest does not fit.
bool glob_fits(std::string_view glob, std::string_view name) {
  size_t g = 0, n = 0, star = std::string_view::npos, behind = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      behind = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++behind;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

// For sentences.
std::string shortened(std::string_view pattern) {
  constexpr size_t kMost = 200;
  return pattern.size() <= kMost ? std::string(pattern) : std::string(pattern.substr(0, kMost)) + "...";
}

std::string message_of(int error) {
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(error, message, sizeof message);
  return reinterpret_cast<const char*>(message);
}

}  // namespace

struct SitePattern::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;
  ~Code() {
    pcre2_code_free(code);
    pcre2_match_context_free(limits);
  }
};

SitePattern::SitePattern(const std::string& pattern) : pattern_(pattern) {
  if (!pattern.starts_with("re:")) return;
  pattern_ = pattern.substr(3);
  auto made = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  made->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(),
                             PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                                 PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr);
  if (!made->code)
    fail(ErrorKind::usage, "'{}' is no regular expression: {}, at character {}", shortened(pattern_), message_of(error),
         offset);
  made->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(made->limits, kMostSteps);
  pcre2_set_heap_limit(made->limits, kMostMemory);
  code_ = std::move(made);
}

bool SitePattern::found_in(std::string_view name) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), pcre2_match_data_free);
  const int found =
      pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data.get(), code_->limits);
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  fail(ErrorKind::usage, "the regular expression '{}' gave up on {} ({}); give a simpler one", shortened(pattern_),
       name, message_of(found));
}

bool SitePattern::fits(std::string_view tensor, std::string_view role) const {
  if (code_) return found_in(tensor) || found_in(role);
  std::string_view module = tensor;
  if (module.ends_with(".weight")) module.remove_suffix(7);
  return glob_fits(pattern_, tensor) || glob_fits(pattern_, module) || glob_fits(pattern_, role);
}

SitePatterns::SitePatterns(std::span<const std::string> patterns) : patterns_(patterns.begin(), patterns.end()) {}

bool SitePatterns::fit(std::string_view tensor, std::string_view role) const {
  return std::any_of(patterns_.begin(), patterns_.end(), [&](const SitePattern& p) { return p.fits(tensor, role); });
}

}  // namespace kerf
