// A run of `kerf compress` as a file: YAML that says what the command line says, and which matrices are treated
// otherwise.
//
//   targets: [vllm:w4a16-g128, llama.cpp-cpu:Q4_0]   # or one name
//   method: rtn                                      # pipeline/plan/method.h
//   gptq: {damping: 0.01, refine: 2}
//   prune: [depth=2, ffn=0.75, 2:4]                  # prune/request.h
//   prune_method: sparsegpt                          # magnitude, wanda, sparsegpt; "+refit" behind it
//   prune_allocation: sensitivity                    # each matrix its own share of the zeros; left out: uniform
//   prune_correction: on                             # what stays makes up for what goes; needs a calibration text
//   prune_multiple: 256                              # widths that stay are multiples of it; left out: as targets want
//   asymmetric: on                                   # calibrated.h; left out: on with the method auto
//   calib: {text: calibration.txt, windows: 128, ctx: 256, seed: 0}
//   imatrix: model.imatrix                           # an importance matrix instead of a calibration text
//   distill: {phases: [blocks, scales], text: "self:200000", steps: [100, 400], batch: 8, rate: 0.0005, seed: 0}
//   eval: {text: heldout.txt, windows: 100, ctx: 256, skip_tokens: 0, flash_attention: on, kv_cache: f16}
//   gate: kl<0.05,top1>0.9
//   dtype: auto                                      # bfloat16 | float16 | float32: of embedding, norms and scales
//   strict: false                                    # true: refuse what a target would store in another way
//   requantize: false                                # true: a quantized model is a source, too
//   shard_size: 2GB                                  # most tensor bytes of one file; as on the command line
//   overrides:                                       # in order; of two that say the same of a matrix the last counts
//     - {sites: "model.layers.*.mlp.down_proj", scheme: w8a16-g32}
//     - {sites: [attn_v, "re:layers\\.[0-3]\\."], method: rtn}
//     - {sites: attn_v, sparsity: 0.3}              # 2:4, 0.3/row ..., or none: not pruned
//
// Every key may be left out. Paths are taken as on the command line: from the working directory; those in a report also
// from the report's folder.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/plan/options.h"
#include "quant/quantizer.h"

namespace kerf {

/// The value of prune_allocation beside "uniform".
inline constexpr std::string_view kBySensitivity = "sensitivity";
/// The sparsity of matrices that are not pruned.
inline constexpr std::string_view kNoSparsity = "none";

/// What some matrices get instead of what all get.
struct SiteOverride {
  std::vector<std::string> sites;  // patterns (site_pattern.h); a matrix is meant when one of them fits
  std::string scheme;              // of the target; "": as all
  std::string method;              // "": as all
  std::string sparsity;            // prune/sparsity.h, or kNoSparsity; "": as all
  bool operator==(const SiteOverride&) const = default;
};

/// What output errors count by: alike, or by their part in the divergence from the original's predictions
/// (calibrate/output_hessians.h).
constexpr std::string_view kInputHessian = "inputs", kKlHessian = "kl";

struct Recipe {
  std::vector<std::string> targets;
  std::string method;  // pipeline/plan/method.h; "": auto with a calibration text, rtn without
  QuantizerOptions quantizer;
  std::vector<std::string> prune;        // prune/request.h
  std::string prune_method;              // prune/method.h; "": sparsegpt+refit with --calib, magnitude without
  std::string prune_allocation;          // uniform or sensitivity: the share of each matrix; "": uniform
  std::optional<bool> prune_correction;  // empty: with a calibration text
  int64_t prune_multiple = 0;            // 0: as the targets want
  std::optional<bool> asymmetric;        // calibrated.h; empty: with the method auto, if there are windows enough
  std::string hessian;                   // kInputHessian or kKlHessian; "": of the inputs
  CalibrationOptions calib;
  std::filesystem::path imatrix;  // of llama.cpp; empty: none
  DistillOptions distill;
  EvalOptions eval;
  std::string gate;
  std::string dtype;        // of the model around packed weights (stored_dtype.h); "": the model's, or auto for float32
  bool strict = false;      // refuse what a target would store in another way
  bool requantize = false;  // take a quantized model's own numbers for the reference
  uint64_t shard_bytes = 0;  // most tensor bytes of one file; 0: 5 GB in safetensors, GGUF is one file
  std::vector<SiteOverride> overrides;
  bool operator==(const Recipe&) const = default;
};

/// Reads a recipe. `name` is what errors call it. Errors name the line: bad_input for what is no YAML, usage for
/// unknown keys and names (with the known ones), wrong types, numbers out of range, and patterns that are no regular
/// expression.
Recipe parse_recipe(std::string_view yaml, const std::string& name);
/// A recipe's file, or any that kerf writes with a recipe in it: a report, or the plan of a run that was stopped
/// (frozen_plan.h), whatever version wrote it. A report names files without their folders where those were absolute:
/// what the working directory does not have is looked for beside the report. Errors as above; usage for a report of
/// files that kerf only measured.
Recipe read_recipe(const std::filesystem::path&);
/// A file that a recipe names, "calib.text" or a text of "prune" (vocab=FILE), and the option that says it: "--calib ".
struct RecipeFile {
  std::string_view key, flag;
  std::filesystem::path& file;  // to be changed, too
};
void for_files(Recipe&, const std::function<void(const RecipeFile&)>&);

/// Compares the files that the recipe now names with those that a report lists under "inputs": a warning for another
/// content; of several texts of a vocabulary the first with the first. Error io for one that is nowhere, unless its key
/// is in `given`. Other recipes list none.
void check_inputs(const std::filesystem::path& report, Recipe&, const std::set<std::string>& given);

/// All of a recipe, for the report; recipe_from_json gives the same recipe back.
nlohmann::ordered_json to_json(const Recipe&);
Recipe recipe_from_json(const nlohmann::ordered_json&);

/// The recipe with what the command line says instead: `given` names the keys that were given there, as "method" or
/// "calib.windows". Error internal for a key that recipes do not have.
Recipe overridden(const Recipe&, const Recipe& command_line, const std::set<std::string>& given);

/// Whether an override means the matrix of that tensor and role. Compiles its patterns; where many are asked for, use
/// SitePatterns. Errors as there.
bool concerns(const SiteOverride&, std::string_view tensor, std::string_view role);

}  // namespace kerf
