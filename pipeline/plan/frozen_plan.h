// All that was decided before the first weight is packed, as a file: .kerf-resume/plan.json of a calibrated run, so
// that going on with it repeats no measurement. It is readable, and `kerf compress --recipe` takes it: its "recipe"
// says every choice. When the run is complete the same recipe is in kerf-report.json.
//
//   {"kerf": VERSION,                     that wrote it
//    "run": {...},                        what the decisions follow from: model, text, size
//    "recipe": {...},                     with one override per matrix where schemes were chosen for a size
//    "targets": [{"target", "hash", "file", "shard_bytes",
//                 "matrices": [{"name", "scheme", "method", "tensors": [...]}], "budget": {...}}],
//    "sha256": "..."}                     of all the rest, as one line of JSON
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "pipeline/plan/allocation.h"
#include "pipeline/plan/plan.h"

namespace kerf {

/// The file's name in the folder of what is saved for --resume.
constexpr const char* kPlanFile = "plan.json";

struct FrozenTarget {
  const TargetPlan* plan;
  const Allocation* allocation;  // nullptr: no size was allocated
};
/// Written whole or not at all. Error io.
void write_frozen_plan(const std::filesystem::path& file, const nlohmann::ordered_json& run, const Recipe&,
                       std::span<const FrozenTarget>);

/// What a run that goes on takes from it.
struct FrozenAllocation {
  Allocation allocation;
  std::string hash;  // of the plan that was made with it
};
/// nullopt when there is no such file, or no size was allocated in it. Errors: bad_input, with the folder to remove,
/// when its content is not what was written; usage, with the differences, when its run is another.
std::optional<FrozenAllocation> read_frozen_allocation(const std::filesystem::path& file,
                                                       const nlohmann::ordered_json& run);

/// Error usage, with the differences, when `before` lacks something of `now` or says otherwise. `folder` is where it
/// lies.
void refuse_other_run(const std::filesystem::path& folder, const nlohmann::ordered_json& before,
                      const nlohmann::ordered_json& now);

}  // namespace kerf
