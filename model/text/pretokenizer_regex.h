// A `Split` pattern that has no scanner, through PCRE2.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace kerf {

/// A regular expression in the syntax of tokenizer.json (Oniguruma's), as far as PCRE2 means the same by it: \s is made
/// to mean White_Space, ^ and $ match at lines. Thread-safe.
class SplitRegex {
 public:
  /// Error bad_input when it does not compile.
  explicit SplitRegex(const std::string& regex);
  /// Emits the matches and what lies between them, in order, leaving out empty ones. Error unsupported when PCRE2 gives
  /// up on a match (its limit on backtracking).
  void split(std::string_view text, const std::function<void(std::string_view)>& emit) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace kerf
