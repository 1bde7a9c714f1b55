// One walk over the operations, with a list of buffers whose content is no longer read.
#include "model/run/schedule.h"

#include <algorithm>
#include <map>
#include <string>

#include "core/error.h"
#include "model/ops/op.h"

namespace kerf {
namespace {

/// True when `slot`, as it is after step i, is read later.
bool read_after(const Ops& ops, size_t i, const std::string& slot) {
  for (size_t j = i + 1; j < ops.size(); ++j) {
    if (std::count(ops[j].inputs.begin(), ops[j].inputs.end(), slot)) return true;
    if (ops[j].output == slot) return false;
  }
  return false;
}

}  // namespace

Schedule schedule(const Architecture& a, const Ops& ops, bool reuse) {
  Schedule s;
  std::map<std::string, int> at = {{"x", kHidden}};
  std::vector<int> free;
  for (size_t i = 0; i < ops.size(); ++i) {
    const Op& op = ops[i];
    Step step{.op = op, .inputs = {}, .output = kHidden};
    for (const std::string& slot : op.inputs) {
      if (!at.count(slot))
        fail(ErrorKind::internal, "{}: an operation reads the slot {} before it is written", a.family, slot);
      step.inputs.push_back(at[slot]);
    }
    const bool in_place = std::count(op.inputs.begin(), op.inputs.end(), op.output) > 0;
    const bool may_overwrite =
        operation(op).may_overwrite_first_input && at[op.inputs[0]] != kHidden && !read_after(ops, i, op.inputs[0]);
    if (in_place || op.output == "x") {
      step.output = at[op.output];
    } else if (may_overwrite) {
      step.output = step.inputs[0];
    } else if (reuse && !free.empty()) {
      step.output = free.back();
      free.pop_back();
    } else {
      step.output = static_cast<int>(s.slots.size());
      s.slots.push_back({.first = i});
    }
    if (step.output != kHidden) {
      Slot& slot = s.slots[static_cast<size_t>(step.output)];
      slot.width = std::max(slot.width, a.axis(op.axis).size);
      slot.last = i;
    }
    for (const int input : step.inputs)
      if (input != kHidden) s.slots[static_cast<size_t>(input)].last = i;
    for (const std::string& slot : op.inputs) {
      if (read_after(ops, i, slot) || !at.count(slot) || at[slot] == kHidden) continue;
      if (at[slot] != step.output) free.push_back(at[slot]);
      at.erase(slot);
    }
    at[op.output] = step.output;
    s.steps.push_back(std::move(step));
  }
  return s;
}

std::vector<Segment> segments_of(const Ops& ops) {
  std::vector<Segment> segments = {{}};
  for (const std::vector<size_t>& group : input_groups(ops)) {
    segments.back().end = group.front();
    segments.push_back({.begin = group.front(), .matrices = group.size()});
  }
  segments.back().end = ops.size();
  return segments;
}

}  // namespace kerf
