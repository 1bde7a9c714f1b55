// Which buffer each activation of a list of operations lives in, and where every window has to arrive before it goes
// on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/arch/architecture.h"

namespace kerf {

constexpr int kHidden = -1;  // the buffer number of the slot "x", which the caller holds

struct Step {
  Op op;
  std::vector<int> inputs;  // buffers
  int output = kHidden;
};

/// A buffer of activations.
struct Slot {
  int64_t width = 0;           // of one token
  size_t first = 0, last = 0;  // steps that write it first and read it last
};

struct Schedule {
  std::vector<Step> steps;
  std::vector<Slot> slots;
};

/// Buffers are used again when what they held is no longer read, unless `reuse` is false. Error internal for an
/// operation that reads what nothing wrote.
Schedule schedule(const Architecture&, const Ops&, bool reuse);

/// Steps between two points where every window has to arrive: each but the first begins with matrices that read the
/// same buffer (input_groups).
struct Segment {
  size_t begin = 0, end = 0;  // steps
  size_t matrices = 0;        // how many it begins with
};
std::vector<Segment> segments_of(const Ops&);

}  // namespace kerf
