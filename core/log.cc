#include "core/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace kerf {
namespace {
std::atomic<bool> quiet = false, verbose = false;
std::atomic<bool> line_open = false;  // a progress line without its newline is on the screen
std::atomic<std::chrono::milliseconds> plain_interval = std::chrono::milliseconds(30'000);

// Failures are passed over: notes are no results.
void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

void print_line(std::string_view text) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  put(fmt::format("{}{}\n", line_open.exchange(false) ? "\r\033[K" : "", text));
}
}  // namespace

void set_quiet(bool on) { quiet = on; }
void set_verbose(bool on) { verbose = on; }
void set_progress_interval(std::chrono::milliseconds interval) { plain_interval = interval; }
bool progress_line_open() { return line_open; }

void note(std::string_view sentence) {
  if (!quiet) print_line(sentence);
}

void warn(std::string_view sentence) { print_line(fmt::format("warning: {}", sentence)); }

void detail(std::string_view sentence) {
  if (verbose) note(sentence);
}

std::string in_words(std::chrono::duration<double> time) {
  const double seconds = time.count();
  if (seconds < 99.5) return fmt::format("{:.0f} s", seconds);
  if (seconds < 99.5 * 60) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

Progress::Progress(std::string what, int64_t total)
    : what_(std::move(what)),
      total_(total),
      start_(Clock::now()),
      drawn_(start_),
      on_(!quiet),
      terminal_(isatty(STDERR_FILENO)) {
  if (!on_ || terminal_) return;
  ticker_ = std::jthread([this](const std::stop_token& stop) {
    std::unique_lock lock(guard_);
    while (!stop.stop_requested()) {
      over_.wait_until(lock, stop, drawn_ + plain_interval.load(), [] { return false; });
      if (!stop.stop_requested()) print_when_due();
    }
  });
}

std::string Progress::text(Clock::time_point now) const {
  std::string text = fmt::format("{} {}/{}", what_, done_, total_);
  const std::chrono::duration<double> spent = now - start_;
  if (!terminal_) text += fmt::format(" after {}", in_words(spent));
  if (done_ > 0)
    text += fmt::format(", about {} left",
                        in_words(spent / static_cast<double>(done_) * static_cast<double>(total_ - done_)));
  return text;
}

void Progress::print_when_due() {
  const auto now = Clock::now();
  if (now - drawn_ < plain_interval.load()) return;
  drawn_ = now;
  print_line(text(now));
}

void Progress::advance(int64_t done) {
  const std::lock_guard lock(guard_);
  done_ += done;
  if (!on_ || done_ <= 0) return;
  if (!terminal_) {
    print_when_due();
    return;
  }
  const auto now = Clock::now();
  if (done_ < total_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  put("\r\033[K" + text(now));
  line_open = true;
}

Progress::~Progress() {
  if (ticker_.joinable()) {
    ticker_.request_stop();
    ticker_.join();
  }
  if (line_open.exchange(false)) put("\r\033[K");
}

}  // namespace kerf
