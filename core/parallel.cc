// A pool of threads that wait for work a few microseconds awake and then asleep: OpenMP's runtime spins for much
// longer, and on a machine that is shared with other work (a CI runner, say) its threads then hold up those that
// compute (docs/decisions.md, 21). Bodies are independent, so which thread runs which does not matter.
#include "core/parallel.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"

namespace kerf {
namespace {

// One parallel_for.
struct Region {
  const std::function<void(int64_t)>& body;
  const int64_t n;
  std::atomic<int64_t> next = 0;
  std::mutex guard = {};
  std::exception_ptr first = {};
  int64_t first_at = n;

  void work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(guard);
        if (i < first_at) {
          first_at = i;
          first = std::current_exception();
        }
        next.store(n, std::memory_order_relaxed);
      }
  }
};

thread_local bool inside_region = false;

// Waking a sleeping thread takes some 50 microseconds, about what this many looks take.
constexpr int kLooks = 2000;

class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(guard_);
      stop_ = true;
      ++turn_;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
  }
  int workers() const { return static_cast<int>(threads_.size()); }

  void run(Region& region) {
    {
      const std::lock_guard lock(guard_);
      region_ = &region;
      ++turn_;
    }
    wake_.notify_all();
    region.work();
    // Workers that have not joined by now stay out; the others have at most one body left each.
    std::unique_lock lock(guard_);
    region_ = nullptr;
    lock.unlock();
    for (int look = 0; users_ > 0 && look < kLooks; ++look) pause();
    lock.lock();
    idle_.wait(lock, [this] { return users_ == 0; });
  }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  void serve() {
    inside_region = true;
    for (uint64_t seen = 0;;) {
      for (int look = 0; turn_ == seen && look < kLooks; ++look) pause();
      std::unique_lock lock(guard_);
      wake_.wait(lock, [&] { return turn_ != seen; });
      seen = turn_;
      if (stop_) return;
      Region* const region = region_;
      if (!region) continue;
      ++users_;
      lock.unlock();
      region->work();
      lock.lock();
      if (--users_ == 0) idle_.notify_one();
    }
  }

  std::mutex guard_;
  std::condition_variable wake_, idle_;
  // Changed under the guard, looked at without it.
  std::atomic<uint64_t> turn_ = 0;
  std::atomic<int> users_ = 0;
  Region* region_ = nullptr;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

// More than any machine has; a system lets a process have some ten thousand.
constexpr int kMostThreads = 1024;
int requested = 0;
std::mutex pool_in_use;  // a second thread that wants it meanwhile works alone
std::unique_ptr<Pool> pool;

}  // namespace

void set_threads(int n) {
  if (n < 0 || n > kMostThreads)
    fail(ErrorKind::usage, "{} threads asked for; give 1 to {}, or 0 for all", n, kMostThreads);
  requested = n;
}

int threads() {
  static const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return requested > 0 ? requested : processors;
}

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
  if (n <= 1 || threads() == 1 || inside_region || !pool_in_use.try_lock()) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  const std::lock_guard holds(pool_in_use, std::adopt_lock);
  if (!pool || pool->workers() != threads() - 1) pool = std::make_unique<Pool>(threads() - 1);
  Region region{.body = body, .n = n};
  inside_region = true;
  pool->run(region);
  inside_region = false;
  if (region.first) std::rethrow_exception(region.first);
}

}  // namespace kerf
