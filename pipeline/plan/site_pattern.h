// Patterns that say which matrices an override of a recipe means.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

/// A glob for a whole name (* any characters, ? one), or behind "re:" a regular expression (ECMAScript's, as far as
/// PCRE2 means the same by it) for a part of it. Compiled once; cheap to copy. Thread-safe.
class SitePattern {
 public:
  /// Error usage for what is no regular expression, or one too large.
  explicit SitePattern(const std::string& pattern);
  /// Whether a matrix is meant: by its tensor's name in the checkpoint (a glob also without ".weight"), or its role
  /// ("attn_v"). Error usage when a regular expression takes more than some 100,000 steps to say.
  bool fits(std::string_view tensor, std::string_view role) const;

 private:
  struct Code;
  bool found_in(std::string_view name) const;

  std::string pattern_;
  std::shared_ptr<const Code> code_;  // nullptr: a glob
};

/// Several of them: one that fits is enough.
class SitePatterns {
 public:
  explicit SitePatterns(std::span<const std::string> patterns);
  bool fit(std::string_view tensor, std::string_view role) const;

 private:
  std::vector<SitePattern> patterns_;
};

}  // namespace kerf
