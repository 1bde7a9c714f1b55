// Replaces the global operators for this test binary; malloc still does the work, so sanitizers see everything.
#include "tests/formats/allocation_meter.h"

#include <cstdlib>
#include <new>

namespace {
thread_local bool counting = false;
thread_local size_t requested = 0;

void* try_to_allocate(size_t n) noexcept {
  if (counting) requested += n;
  return std::malloc(n == 0 ? 1 : n);
}
void* allocate(size_t n) {
  if (void* p = try_to_allocate(n)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t n) { return allocate(n); }
void* operator new[](size_t n) { return allocate(n); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return try_to_allocate(n); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return try_to_allocate(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }

namespace kerf::test {

AllocationMeter::AllocationMeter() {
  requested = 0;
  counting = true;
}
AllocationMeter::~AllocationMeter() { counting = false; }
size_t AllocationMeter::total() const { return requested; }

}  // namespace kerf::test
