// The one exception type of kerf. `main` makes its kind the exit code of the process; a few readers catch it on the
// way, to say where it was or to go on without what they wanted to read.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace kerf {

/// What went wrong, as the process's exit code (0 is success, 1 a gate that was missed).
enum class ErrorKind : int {
  usage = 2,        // the command line or a recipe asks for something that does not exist
  bad_input = 3,    // a file or text is damaged, hostile or inconsistent
  unsupported = 4,  // well-formed, but outside what kerf or the chosen target can do
  numerical = 5,    // NaN, Inf, a factorization that failed
  io = 6,           // the operating system refused: missing file, full disk, no permission
  internal = 70,    // a mistake in kerf itself
};

class Error : public std::runtime_error {
 public:
  /// `sentence` says what was given, what is allowed and what to do.
  Error(ErrorKind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

/// Throws an Error whose sentence is formatted as by fmt::format.
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace kerf
