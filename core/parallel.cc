// OpenMP with a dynamic schedule: bodies are independent, so which thread runs which does not matter.
#include "core/parallel.h"

#include <omp.h>

#include <atomic>
#include <exception>
#include <mutex>

#include "core/error.h"

namespace kerf {
namespace {
int requested = 0;
}

void set_threads(int n) {
  if (n < 0) fail(ErrorKind::usage, "{} threads asked for; give a positive number, or 0 for all", n);
  requested = n;
}

int threads() { return requested > 0 ? requested : omp_get_num_procs(); }

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
  if (n <= 1 || threads() == 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<bool> stop{false};
  std::mutex guard;
  std::exception_ptr first;
  int64_t first_at = n;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    if (stop.load(std::memory_order_relaxed)) continue;
    try {
      body(i);
    } catch (...) {
      std::lock_guard lock(guard);
      if (i < first_at) {
        first_at = i;
        first = std::current_exception();
      }
      stop = true;
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace kerf
