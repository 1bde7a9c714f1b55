// Counts what operator new hands out, to show that a hostile file cannot make kerf allocate.
#pragma once

#include <cstddef>

namespace kerf::test {

/// While one exists, the allocations of its thread are counted.
class AllocationMeter {
 public:
  AllocationMeter();
  ~AllocationMeter();
  /// Sum of all requests so far, freed or not.
  size_t total() const;
};

}  // namespace kerf::test
