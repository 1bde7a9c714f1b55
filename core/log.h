// What kerf says while it works. Everything here goes to stderr; stdout belongs to results.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace kerf {

/// No notes and no progress; warnings are still printed.
void set_quiet(bool);
/// Details too.
void set_verbose(bool);

void note(std::string_view sentence);
void warn(std::string_view sentence);
/// Of single matrices and the like: printed only when kerf is verbose and not quiet.
void detail(std::string_view sentence);

/// A line that is no sentence of its own is on the screen. Async-signal-safe.
bool progress_line_open();
/// Seconds as people say them: "40 s", "28 min", "2.5 h".
std::string in_words(std::chrono::duration<double>);
/// Where stderr is no terminal: the time between two lines of progress, 30 s. For tests.
void set_progress_interval(std::chrono::milliseconds);

/// How far something is, with the time left: a line redrawn in place, or a plain one every half minute where stderr is
/// no terminal. Silent when kerf is quiet.
class Progress {
 public:
  Progress(std::string what, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(int64_t done = 1);

 private:
  using Clock = std::chrono::steady_clock;
  std::string text(Clock::time_point now) const;
  void print_when_due();

  std::string what_;
  int64_t total_, done_ = 0;
  Clock::time_point start_, drawn_;
  bool on_, terminal_;
  std::mutex guard_;
  std::condition_variable_any over_;
  std::jthread ticker_;  // prints the plain lines, also while nothing advances
};

}  // namespace kerf
