// The model that structural pruning leaves, as a checkpoint that the rest of a run starts from.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/scratch.h"
#include "model/text/windows.h"
#include "pipeline/plan/compress_options.h"
#include "prune/shape.h"
#include "prune/vocabulary.h"
#include "verify/artifact.h"

namespace kerf {

struct PrunedSource {
  Artifact model;  // of the same dtype as the original; matrices in F32
  /// What went, for the report: {"layers", "depth", "axes", "parameters", ...}.
  nlohmann::ordered_json report;
};

/// The shape of params=SHARE or bytes=SIZE.
struct ChosenShape {
  PrunedShape shape;
  nlohmann::ordered_json report;  // {"most", "chosen", "curve", "combinations"}
};
/// Chooses by pruning the original to shapes, into folders below `folder` that are removed again, on some of the
/// windows and measuring on others. `size` is what must not be above `most`. A stopped run's choice is taken with
/// options.resume. Errors: usage without windows, or when nothing is small enough.
ChosenShape chosen_shape(const Artifact& original, const CompressOptions&, int64_t multiple, double most,
                         const std::function<double(const PrunedShape&)>& size,
                         const std::function<bool(const PrunedShape&)>& loads, const Windows* calibration,
                         const std::filesystem::path& folder);

/// On how many tokens sets of blocks are told apart,
constexpr int64_t kDepthTokens = 2048;
/// and a shape is pruned and measured for chosen_shape(), out of these windows.
struct TrialTokens {
  int64_t fit = 0, test = 0;
};
TrialTokens trial_tokens(const Windows&);

/// Where what is pruned lies, in the folder of what is saved for --resume.
inline constexpr const char* kPrunedFolder = "pruned";

/// What is decided before any weight is read.
struct PrunePlan {
  PrunedShape shape;
  std::optional<TrimmedVocabulary> vocabulary;
  nlohmann::ordered_json choice = {};  // ChosenShape::report, where the shape was chosen for a size
};
/// What the model that is left looks like: everything of its shape but which parts they are.
Correspondence outline_of(const Architecture&, const PrunePlan&);
/// A line for each axis that is cut.
std::vector<std::string> describe(const Architecture&, const PrunePlan&);

/// Error usage where the windows are too few to choose a shape for a size.
void check_trial_windows(const Windows* calibration);
/// Error usage where that shape needs a text that is missing or too short.
void check_text(const PrunedShape&, const CompressOptions&, const Windows* calibration);

/// Prunes the original to that plan, into `folder`, which is emptied before; with options.resume what lies there
/// complete and follows from the same (`run`) is taken as it is. `calibration` in the original's ids; nullptr where
/// nothing needs it. REQUIRES: check_hub_source() (hub_companions.h). Errors: usage where a text is needed and missing,
/// unsupported for models with fused tensors, io.
PrunedSource prune_source(const Artifact& original, const CompressOptions&, const PrunePlan&,
                          const Windows* calibration, const std::filesystem::path& folder,
                          const nlohmann::ordered_json& run);

}  // namespace kerf
