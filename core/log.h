// What kerf says while it works. Everything here goes to stderr; stdout belongs to results.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace kerf {

/// No notes and no progress; warnings are still printed.
void set_quiet(bool);

void note(std::string_view sentence);
void warn(std::string_view sentence);

/// A progress line with the time left, redrawn in place; silent when stderr is no terminal or kerf is quiet.
class Progress {
 public:
  Progress(std::string what, int64_t total);
  ~Progress();
  void advance(int64_t done = 1);

 private:
  std::string what_;
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool on_;
};

}  // namespace kerf
