// The outcome of a run: what was written, what it cost, and whether that is acceptable.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/allocation.h"
#include "pipeline/plan/recipe.h"
#include "pipeline/report/source_identity.h"
#include "verify/gate.h"
#include "verify/metric.h"
#include "verify/verify.h"

namespace kerf {

struct FileEntry {
  std::string name;  // relative to the report
  uint64_t bytes = 0;
  std::string sha256;
};

/// The same files by another rule that a runtime of the target follows.
struct AlternativeVerification {
  std::string arithmetic;  // which, and how far it is known
  Verification verification;
};

/// Tokens per second on the machine of the run, by kerf's kernels.
struct Speed {
  std::string arithmetic = {};  // "float32" of plain numbers, else "the runtime's"
  double prefill = 0;           // one window through all blocks: products, attention, norms; without the head
  double decode = 0;  // the products of one token with every matrix and the head, which is what decoding a short text
                      // takes; attention to the past is left out
};

/// What the speeds of targets stand beside, after pruning.
struct SpeedBefore {
  int64_t ctx = 0;  // tokens of the window that prefill takes
  int threads = 0;
  Speed original;               // its weights decoded
  std::optional<Speed> pruned;  // what is left, before it was packed; nothing where only zeros are new
};

struct TargetResult {
  std::string target, scheme;  // "llama.cpp-cpu", "Q4_0"
  std::string arithmetic;      // how far the verification arithmetic is known to be the runtime's
  RuntimeSettings runtime;     // with which it was computed; nothing where no runtime has settings
  std::string plan;            // hash, when kerf made the files
  std::vector<FileEntry> files;
  uint64_t bytes = 0;  // of the files that hold weights
  BitsPerWeight bpw;
  std::optional<Verification> verification;
  std::optional<AlternativeVerification> alternative;
  std::optional<Verification> second;     // on the second text
  std::optional<Verification> unadapted;  // without the adapter with which all other figures are
  GateResult gate;
  std::vector<std::string> remarks;
  std::vector<SiteOutcome> calibrated;   // in the order in which sites ran
  std::optional<Allocation> allocation;  // when a size was allocated; its choices are in the recipe
  nlohmann::ordered_json distilled;      // pipeline/distill/distill.h; null: it was not trained
  std::optional<Speed> speed;            // after pruning,
  nlohmann::ordered_json continuations;  // pipeline/runs/continuations.h; null: none were written
};

struct Report {
  std::string model, method;
  int64_t parameters = 0;
  EvalOptions eval;
  std::string gate;
  bool windows_have_bos = true;                 // those of the evaluation (Windows::bos)
  bool windows_of_documents = false;            // Windows::documents
  std::optional<Recipe> recipe = std::nullopt;  // when kerf made the files
  std::vector<TargetResult> targets = {};
  std::string repacked_from = {};  // the format that held the same numbers, after `kerf repack`
  SourceIdentity source = {};      // name "": unknown, and not in the report
  std::vector<InputFile> inputs = {};
  int64_t calibration_windows = 0;                          // that there were; 0 without calibration
  nlohmann::ordered_json pruned = {};                       // pipeline/runs/pruned_source.h; null: nothing was cut
  std::optional<Verification> pruned_model = std::nullopt;  // what was left, before it was packed, in float32
  std::optional<SpeedBefore> speed = std::nullopt;          // after pruning, zeros included

  bool passed() const;
};

/// As options and recipes have them.
nlohmann::ordered_json to_json(const RuntimeSettings&);
/// The report of one target of several, for its own folder: names of files relative to that, a recipe with this target
/// alone. `folder` is relative to the report of all.
Report report_of(const Report&, size_t target, const std::string& folder);

/// kerf-report.json; the same inputs give the same text, but for the speeds of a pruned run ("speed"). Absolute paths
/// in the recipe become names of files; "inputs" has their checksums.
nlohmann::ordered_json to_json(const Report&);
/// The table for people.
std::string to_table(const Report&);
/// The speeds of a pruned run as people read them: the original, what is left of it, each target. None otherwise.
struct SpeedRow {
  std::string what, arithmetic, prefill, decode;
};
std::vector<SpeedRow> speed_rows(const Report&);
/// What metrics (verify/metric.h) read of a target's result, which must outlive it.
Measurement measurement_of(const TargetResult&);
/// "KL on the held-out windows 0.04 ± 0.001, before 0.05": what a phase of a training (TargetResult::distilled) has
/// gained; "" of one that was judged block by block.
std::string phase_text(const nlohmann::ordered_json& phase);
/// How the windows were cut, in words. `bos`: each begins with a BOS (Windows::bos); `documents`: Windows::documents.
std::string window_rule(const EvalOptions&, bool bos, bool documents);

}  // namespace kerf
