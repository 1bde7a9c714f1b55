#include "pipeline/runs/pruned_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/sha256.h"
#include "model/arch/family.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/plan/frozen_plan.h"
#include "pipeline/prune/depth.h"
#include "pipeline/prune/shape_choice.h"
#include "pipeline/prune/structure.h"
#include "pipeline/prune/width.h"
#include "pipeline/repository/hub_companions.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/estimate.h"
#include "pipeline/runs/vocabulary_texts.h"
#include "prune/rotation.h"
#include "prune/slice.h"
#include "verify/correspondence.h"
#include "verify/verify.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kAbout = "kerf-prune.json";

// Windows of the text, evenly spread, of about so many tokens.
Windows some_of(const Windows& all, int64_t tokens) { return spread_windows(all, windows_of_tokens(all, tokens)); }

ordered_json depth_json(const DepthChoice& choice) {
  ordered_json candidates = ordered_json::array();
  for (const DepthCandidate& c : choice.candidates)
    candidates.push_back({{"removed", c.removed}, {"similarity", c.similarity}, {"kl", c.kl}});
  return {{"similarity", choice.similarity}, {"candidates", std::move(candidates)}};
}

ordered_json width_json(const WidthChoice& choice, const std::string& rotation_refused) {
  const std::vector<int64_t> removed = others_than(choice.kept, std::ssize(choice.importance));
  ordered_json importance = ordered_json::array();
  for (const int64_t c : removed) importance.push_back(choice.importance[static_cast<size_t>(c)]);
  ordered_json json = {{"rotated", rotation_refused.empty()}};
  if (!rotation_refused.empty()) json["not_rotated"] = rotation_refused;
  json["removed"] = removed;
  json["importance"] = std::move(importance);
  return json;
}

ordered_json cuts_json(const std::vector<CutAxis>& cuts) {
  ordered_json all = ordered_json::array();
  for (const CutAxis& c : cuts)
    all.push_back({{"axis", c.axis},
                   {"layer", c.layer},
                   {"removed", c.removed},
                   {"importance", c.importance},
                   {"error", c.error},
                   {"damping", c.damping}});
  return all;
}

// The original's config.json with what a smaller shape changes in it.
ordered_json config_of_smaller(const Artifact& original, const Architecture& small, const Correspondence& kept,
                               const std::optional<TrimmedVocabulary>& vocabulary) {
  ordered_json config = config_of(original);
  if (vocabulary) config = renumbered_ids(std::move(config), vocabulary->kept, vocabulary->rows);
  const ordered_json before = write_config(original.architecture), after = write_config(small);
  for (const auto& [key, value] : after.items())
    if (!before.contains(key) || before[key] != value || key == "head_dim") config[key] = value;
  // Also of models whose layers are all alike, for which write_config() has no list.
  if (const auto types = config.find("layer_types"); !after.contains("layer_types") && types != config.end()) {
    const ordered_json all = *types;
    *types = ordered_json::array();
    for (int64_t layer = 0; layer < small.layers(); ++layer)
      if (const auto at = static_cast<size_t>(kept.layer(layer)); at < all.size()) types->push_back(all[at]);
  }
  if (config.contains("layer_types")) config.erase("sliding_window_pattern");  // which says the same by a number
  if (write_config(describe_architecture(config)) != after)
    fail(ErrorKind::unsupported, "a config.json of {} cannot say the shape that pruning would leave",
         original.path.string());
  return config;
}

// The checksum of each file but kAbout, by name.
ordered_json checksums_of(const fs::path& folder) {
  std::map<std::string, std::string> sums;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename(); name != kAbout) sums[name] = sha256_of(entry.path());
  return sums;
}

[[noreturn]] void damaged(const fs::path& folder, std::string_view why) {
  fail(ErrorKind::bad_input,
       "what an earlier run left in {} is damaged: {}; remove that folder, or begin anew with --force", folder.string(),
       why);
}

// {"run", "report", "files"}, as it was written.
ordered_json read_about(const fs::path& folder) {
  ordered_json stored;
  try {
    stored = parse_ordered_json(read_text(folder / kAbout), kAbout);
  } catch (const Error& e) {
    damaged(folder, e.what());
  }
  if (!stored.is_object() || !stored.contains("about") || !stored.contains("sha256") ||
      stored["sha256"] != sha256_of_text(stored["about"].dump()))
    damaged(folder, fmt::format("{} is not what was written there", kAbout));
  return stored["about"];
}

// In place of the original's files; what holds its vocabulary in a form that is not rewritten goes.
void write_vocabulary(const TrimmedVocabulary& v, const fs::path& folder) {
  for (const auto& [name, text] : v.files) write_text(folder / name, text);
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename(); is_other_vocabulary(name)) {
      fs::remove(entry.path());
      note(fmt::format("{} is left out: it holds the whole vocabulary, and tokenizer.json says the trimmed one", name));
    }
}

// The plan of a plain checkpoint in F32: nothing is rounded before the rest of the run rounds it.
TargetPlan plan_of(const Architecture& small, const Artifact& original) {
  Architecture stored = small;
  stored.dtype = Dtype::f32;
  TargetPlan plan = make_plan(stored, parse_target("checkpoint:f32"), "pruned", false);
  complete(plan, stored, original, "pruned", 0);
  return plan;
}

// Chooses the channels of the residual stream that stay. What it is cut from, where it was turned before; else nullptr.
std::unique_ptr<RotatedWeights> narrow_stream(const Artifact& original, int64_t keep, const Windows& windows,
                                              Scratch& scratch, Correspondence& kept, ordered_json& report) {
  const Architecture &a = original.architecture, deep = sliced(a, kept);
  const std::string refused = rotation_refused(a);
  std::unique_ptr<RotatedWeights> rotated;
  if (refused.empty()) {
    note("the residual stream is turned to its principal directions");
    const SlicedWeights source(a, *original.weights, kept);
    rotated =
        std::make_unique<RotatedWeights>(a, *original.weights, principal_directions({deep, source, windows, scratch}));
  } else {
    note(fmt::format("channels of the residual stream are cut as they are: {}", refused));
  }
  const SlicedWeights source(a, rotated ? static_cast<const TensorSource&>(*rotated) : *original.weights, kept);
  const WidthChoice choice = choose_width({deep, source, windows, scratch}, keep);
  kept.axes["hidden"] = {choice.kept};
  report["hidden"] = width_json(choice, refused);
  return rotated;
}

// The folder's files, but for the one that says it is complete.
ordered_json write_pruned(const Artifact& original, const CompressOptions& o, const PrunePlan& plan_of_cut,
                          const Windows* calibration, DepthSearch* search, const fs::path& folder) {
  const Architecture& a = original.architecture;
  const PrunedShape& shape = plan_of_cut.shape;
  const std::optional<TrimmedVocabulary>& vocabulary = plan_of_cut.vocabulary;
  ordered_json report;
  Scratch scratch(Scratch::kNoLimit, folder);
  Correspondence kept;
  if (shape.depth > 0) {
    const DepthChoice depth = search->choose(shape.depth);
    kept.layers = depth.kept;
    report["depth"] = depth_json(depth);
  }
  const AxisCut* width = shape.cut_of("hidden");
  const std::unique_ptr<RotatedWeights> rotated =
      width ? narrow_stream(original, width->keep, some_of(*calibration, kWidthTokens), scratch, kept, report)
            : nullptr;
  const TensorSource& source = rotated ? static_cast<const TensorSource&>(*rotated) : *original.weights;
  Correspondence outline = outline_of(a, plan_of_cut);
  outline.layers = kept.layers;
  kept.tokens = outline.tokens;
  if (vocabulary) report["vocabulary"] = to_json(*vocabulary, original, o.eval.text);
  const Architecture small = sliced(a, outline);
  const TargetPlan plan = plan_of(small, original);
  const auto writer = create_weights(plan, folder);
  const PackJob job{&plan, writer.get()};
  const bool correct = o.prune_correction.value_or(true);
  const Quantizer& rtn = find_quantizer("rtn");
  if (!shape.cuts.empty() || (shape.depth > 0 && correct)) {
    const int64_t validation = correct ? held_out_windows(calibration->count) * calibration->length : 0;
    PrunedStructure s = prune_structure({.architecture = a,
                                         .source = source,
                                         .shape = shape,
                                         .kept = kept,
                                         .correct = correct,
                                         .damping = o.quantizer.damping,
                                         .windows = *calibration,
                                         .validation_tokens = validation,
                                         .scratch = scratch},
                                        job);
    kept = std::move(s.kept);
    report["axes"] = cuts_json(s.cuts);
    const SlicedWeights weights(a, source, kept);
    pack_matrices(small, weights, rtn, {&job, 1}, 0, {},
                  [&](const PlannedMatrix& m) { return s.written.contains(m.site.name); });
    write_vectors(weights, job, {});
  } else {
    pack(small, SlicedWeights(a, source, kept), rtn, {&job, 1});
  }
  if (!plan_of_cut.choice.is_null()) report["choice"] = plan_of_cut.choice;
  const std::vector<fs::path> files = writer->commit();
  repository_of(*plan.choice.target).write_companions({original, plan, files, folder});
  if (vocabulary) write_vocabulary(*vocabulary, folder);
  write_text(folder / "config.json", json_text(config_of_smaller(original, small, kept, vocabulary)) + "\n");
  write_text(folder / kCorrespondenceFile, json_text(to_json(kept)) + "\n");
  return report;
}

// One of eight windows to measure on, and some of the others to prune by.
struct FitAndTest {
  Windows fit, test;
};
FitAndTest split(const Windows& all) {
  constexpr int64_t kFitTokens = 16384, kTestTokens = 4096;
  FitAndTest s{all, all};
  s.fit.ids.clear();
  s.test.ids.clear();
  s.fit.count = s.test.count = 0;
  for (int64_t i = 0; i < all.count; ++i) {
    Windows& to = i % kHeldOutPart == kHeldOutPart - 1 ? s.test : s.fit;
    const std::span<const int32_t> window = all.window(i);
    to.ids.insert(to.ids.end(), window.begin(), window.end());
    ++to.count;
  }
  return {some_of(s.fit, kFitTokens), some_of(s.test, kTestTokens)};
}

ordered_json points_json(const std::vector<ShapePoint>& points) {
  ordered_json all = ordered_json::array();
  for (const ShapePoint& p : points) all.push_back({{"prune", request_of(p.shape)}, {"size", p.size}, {"kl", p.kl}});
  return all;
}

// Before anything is computed.
void check_room(const fs::path& folder, const Architecture& smaller) {
  const uint64_t needed = static_cast<uint64_t>(parameters_of(smaller)) * sizeof(float);
  if (const auto room = free_bytes(folder); room && *room < needed)
    fail(ErrorKind::io, "{} has room for {} bytes, and the pruned model needs {} there while the run lasts",
         folder.string(), *room, needed);
}

// Whatever fails leaves no empty folder behind, which the next run would take for one that can be gone on with.
template <class F>
auto removing_on_failure(const fs::path& folder, F&& f) {
  try {
    return f();
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    fs::remove(folder.parent_path(), ignored);  // where nothing else is saved
    throw;
  }
}

}  // namespace

ChosenShape chosen_shape(const Artifact& original, const CompressOptions& o, int64_t multiple, double most,
                         const std::function<double(const PrunedShape&)>& size,
                         const std::function<bool(const PrunedShape&)>& loads, const Windows* calibration,
                         const fs::path& folder) {
  const Architecture& a = original.architecture;
  if (o.resume && fs::exists(folder / kAbout)) {
    const ordered_json about = read_about(folder);
    if (about["report"].contains("choice")) {
      const ordered_json& choice = about["report"]["choice"];
      return {pruned_shape(a, parse_prune(choice.at("chosen").get<std::vector<std::string>>()), multiple), choice};
    }
  }
  check_trial_windows(calibration);
  const FitAndTest windows = split(*calibration);
  const Windows few = some_of(*calibration, kDepthTokens);
  Scratch scratch(Scratch::kNoLimit);
  DepthSearch search(a, *original.weights, few, scratch);
  const fs::path trial = folder / "trial";
  const auto kl = [&](const PrunedShape& shape) {
    fs::remove_all(trial);
    fs::create_directories(trial);
    write_pruned(original, o, {shape, std::nullopt}, &windows.fit, &search, trial);
    double kl = 0;
    {
      const Artifact pruned = open_artifact(trial);
      const VerifySide side{&pruned, VerifyMode::float32};
      kl = verify(original, {&side, 1}, windows.test)[0].comparison.kl_mean;
    }
    fs::remove_all(trial);
    note(
        fmt::format("{}: {:.0f} of {:.0f}, KL {:.4f}", fmt::join(describe(a, shape), ", "), size(shape), size({}), kl));
    return kl;
  };
  const ShapeChoice choice = removing_on_failure(folder, [&] {
    return choose_shape(a, multiple, most, {size, kl, loads});
  });
  return {choice.shape,
          {{"most", most},
           {"chosen", request_of(choice.shape)},
           {"fit_tokens", windows.fit.tokens()},
           {"test_tokens", windows.test.tokens()},
           {"curve", points_json(choice.curve)},
           {"combinations", points_json(choice.combinations)}}};
}

Correspondence outline_of(const Architecture& a, const PrunePlan& plan) {
  Correspondence c = first_of_everything(a, plan.shape);
  if (plan.vocabulary)
    c.tokens.assign(plan.vocabulary->kept.begin(),
                    plan.vocabulary->kept.begin() + static_cast<std::ptrdiff_t>(plan.vocabulary->rows));
  return c;
}

std::vector<std::string> describe(const Architecture& a, const PrunePlan& plan) {
  std::vector<std::string> lines = describe(a, plan.shape);
  if (plan.vocabulary) lines.push_back(fmt::format("vocabulary: {} of {} rows", plan.vocabulary->rows, a.vocab()));
  return lines;
}

TrialTokens trial_tokens(const Windows& calibration) {
  const FitAndTest windows = split(calibration);
  return {windows.fit.tokens(), windows.test.tokens()};
}

void check_trial_windows(const Windows* calibration) {
  if (!calibration || calibration->count < 2 * kHeldOutPart)
    fail(ErrorKind::usage,
         "--prune params= and bytes= measure shapes on windows of a text; give --calib FILE with {} windows or more",
         2 * kHeldOutPart);
}

void check_text(const PrunedShape& shape, const CompressOptions& o, const Windows* calibration) {
  if (shape.depth == 0 && shape.cuts.empty()) return;
  if (!calibration)
    fail(ErrorKind::usage,
         "--prune chooses blocks, channels and heads by what the model does with a text; give --calib "
         "FILE");
  if (o.prune_correction.value_or(true) && calibration->count < kHeldOutPart)
    fail(ErrorKind::usage,
         "what stays after pruning is corrected by one of {} windows, and there are {}; give more windows, or "
         "--prune-correction off",
         kHeldOutPart, calibration->count);
}

PrunedSource prune_source(const Artifact& original, const CompressOptions& o, const PrunePlan& plan,
                          const Windows* calibration, const fs::path& folder, const ordered_json& run) {
  check_text(plan.shape, o, calibration);
  ordered_json about;
  if (o.resume && fs::exists(folder / kAbout)) {
    about = read_about(folder);
    if (about["files"] != checksums_of(folder)) damaged(folder, "its files are not those that were written");
    refuse_other_run(folder, about["run"], run);
    note(fmt::format("pruned as {} has it; nothing is chosen again", folder.string()));
  } else {
    fs::remove_all(folder);
    check_room(folder, sliced(original.architecture, outline_of(original.architecture, plan)));
    fs::create_directories(folder);
    const Windows few = calibration ? some_of(*calibration, kDepthTokens) : Windows{};
    about = removing_on_failure(folder, [&] {
      Scratch scratch(Scratch::kNoLimit);
      std::optional<DepthSearch> search;
      if (plan.shape.depth > 0) search.emplace(original.architecture, *original.weights, few, scratch);
      ordered_json report = write_pruned(original, o, plan, calibration, search ? &*search : nullptr, folder);
      return ordered_json{{"run", run}, {"report", std::move(report)}, {"files", checksums_of(folder)}};
    });
    write_text(folder / kAbout, json_text({{"sha256", sha256_of_text(about.dump())}, {"about", about}}) + "\n");
  }
  PrunedSource pruned{open_artifact(folder), about["report"]};
  pruned.model.remarks = original.remarks;
  pruned.model.checksum = sha256_of_text(about["files"].dump());
  pruned.report["parameters"] = {{"before", original.parameters()}, {"after", pruned.model.parameters()}};
  return pruned;
}

}  // namespace kerf
