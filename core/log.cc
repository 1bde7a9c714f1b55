#include "core/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace kerf {
namespace {
bool quiet = false;
bool line_open = false;  // a progress line without its newline is on the screen

// Failures are passed over: notes are no results.
void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

void print_line(std::string_view text) {
  if (line_open) put("\r\033[K");
  line_open = false;
  put(fmt::format("{}\n", text));
}
}  // namespace

void set_quiet(bool on) { quiet = on; }

void note(std::string_view sentence) {
  if (!quiet) print_line(sentence);
}

void warn(std::string_view sentence) { print_line(fmt::format("warning: {}", sentence)); }

Progress::Progress(std::string what, int64_t total)
    : what_(std::move(what)),
      total_(total),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_),
      on_(!quiet && isatty(STDERR_FILENO)) {}

void Progress::advance(int64_t done) {
  done_ += done;
  if (!on_ || done_ <= 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (done_ < total_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double spent = std::chrono::duration<double>(now - start_).count();
  const double left = spent / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  put(fmt::format("\r\033[K{} {}/{}, {:.0f} s left", what_, done_, total_, left));
  line_open = true;
}

Progress::~Progress() {
  if (!on_ || !line_open) return;
  put("\r\033[K");
  line_open = false;
}

}  // namespace kerf
