// What a compression will write for each target: plans, folders, and how a size is allocated.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/text/windows.h"
#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/compress_options.h"
#include "pipeline/plan/plan.h"
#include "pipeline/runs/allocate.h"
#include "prune/method.h"
#include "verify/artifact.h"

namespace kerf {

/// What becomes of a size that is to be allocated.
struct SizeChoice {
  uint64_t bytes = 0;                    // asked for; 0: no size was
  std::optional<Allocation> allocation;  // nothing while it is left open
  std::string hash;                      // of the plan that a stopped run has made with it
  std::optional<AllocationWork> open;    // what choosing would take
};

/// One target on its way: plan, folder, open files.
struct Output {
  TargetPlan plan;
  std::string folder;  // in the output folder
  std::unique_ptr<Writer> writer = nullptr;
  std::vector<std::filesystem::path> weights = {}, files = {};  // staged; `files`: weights first
  std::vector<SiteOutcome> outcomes = {};
  nlohmann::ordered_json distilled = {};
  bool adapted = false;  // an adapter lies beside the weights
  SizeChoice size = {};
};

/// A target's name as that of a folder.
std::string folder_name(const TargetChoice&);

/// What the decisions of a calibrated run follow from: program, kernels, files of the source, tokens.
nlohmann::ordered_json describe_inputs(const Artifact& source, const Windows& calibration);
/// The same for the schemes that a size leads to: the "run" of the frozen plan.
nlohmann::ordered_json describe_choices(const CompressOptions&, const Artifact& source, const Windows& calibration);

/// The model as a target's files will hold it, and what there is to say of that.
Architecture as_stored(const CompressOptions&, const Artifact& source, const TargetChoice&, std::string* said);

/// Error usage for --dtype where no target follows it.
void refuse_dtype_without_use(const CompressOptions&);

/// One for each target. Sizes are allocated by measuring, if it may and no stopped run has. `shares` of zeros go before
/// the overrides; without `say` nothing is printed. Errors: usage and unsupported as parse_target(), make_plan(),
/// complete() and allocate() say.
std::vector<Output> plan_outputs(const CompressOptions&, const Artifact& source, const std::string& name,
                                 const PruneMethod& pruning, std::span<const SiteOverride> shares,
                                 const std::optional<Windows>& calibration, bool may_measure, bool say = true);
std::vector<const TargetPlan*> plans_of(const std::vector<Output>&);

}  // namespace kerf
