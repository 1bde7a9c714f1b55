// Threads. Results never depend on their number: work is cut by fixed sizes, and sums are taken in a fixed order.
#pragma once

#include <cstdint>
#include <functional>

namespace kerf {

/// Number of threads that parallel_for uses from now on; 0 means as many as the process may run on.
void set_threads(int n);
int threads();

/// Calls body(i) for every i in [0, n), each once, on several threads (dynamic order). The first exception thrown by a
/// body (lowest i among those that ran) is rethrown here after the others have stopped. Nested calls run serially.
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

}  // namespace kerf
