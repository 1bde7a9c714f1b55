#include "pipeline/runs/compress.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "core/cpu.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "core/version.h"
#include "model/text/text_file.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/plan/frozen_plan.h"
#include "pipeline/plan/masks.h"
#include "pipeline/plan/option.h"
#include "pipeline/plan/pack.h"
#include "pipeline/plan/plan.h"
#include "pipeline/plan/range.h"
#include "pipeline/plan/stored_dtype.h"
#include "pipeline/repository/card.h"
#include "pipeline/repository/publication.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/allocate.h"
#include "pipeline/runs/allocate_sparsity.h"
#include "pipeline/runs/continuations.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/pruned_source.h"
#include "pipeline/runs/source.h"
#include "pipeline/runs/text_windows.h"
#include "pipeline/runs/vocabulary_texts.h"
#include "prune/method.h"
#include "prune/request.h"
#include "prune/slice.h"
#include "targets/gguf_mixture.h"
#include "verify/correspondence.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

// A target's name as that of a folder.
std::string folder_name(const TargetChoice& choice) {
  std::string name = choice.text();
  std::replace(name.begin(), name.end(), ':', '-');
  return name;
}

// What the decisions of a calibrated run follow from.
ordered_json describe_inputs(const Artifact& source, const Windows& calibration) {
  Sha256 ids;
  ids.update(std::as_bytes(std::span(calibration.ids)));
  ordered_json run = {{"kerf", version()}, {"kernels", name_of(isa())}};
  for (const fs::path& f : source.files)
    run["source " + f.filename().string()] =
        fmt::format("{} bytes of {}", fs::file_size(f), fs::last_write_time(f).time_since_epoch().count());
  run["calibration"] = fmt::format("{} windows of {} tokens, {}", calibration.count, calibration.length, ids.finish());
  return run;
}

// What becomes of a size that is to be allocated.
struct SizeChoice {
  uint64_t bytes = 0;                    // asked for; 0: no size was
  std::optional<Allocation> allocation;  // nothing while it is left open
  std::string hash;                      // of the plan that a stopped run has made with it
  std::optional<AllocationWork> open;    // what choosing would take
};

// One target on its way: plan, folder, open files.
struct Output {
  TargetPlan plan;
  std::string folder;  // in the output folder
  std::unique_ptr<Writer> writer = nullptr;
  std::vector<fs::path> weights = {}, files = {};  // staged; `files`: weights first
  std::vector<SiteOutcome> outcomes = {};
  SizeChoice size = {};
};

uint64_t size_asked_for(const CompressOptions& o, const Artifact& source) {
  return o.bytes > 0 ? o.bytes : static_cast<uint64_t>(o.bpw * static_cast<double>(source.parameters()) / 8);
}

// The "run" of the frozen plan: what its choices follow from.
ordered_json describe_choices(const CompressOptions& o, const Artifact& source, const Windows& calibration) {
  ordered_json run = describe_inputs(source, calibration);
  run["targets"] = ordered_json::array();
  for (const std::string& text : o.targets) run["targets"].push_back(parse_target(text).text());
  run["bytes"] = size_asked_for(o, source);
  run["overrides"] = to_json(o).at("overrides");
  return run;
}

// Measures only where asked to, and only if no stopped run has.
SizeChoice allocation_for(const CompressOptions& o, const Artifact& source, const TargetChoice& choice,
                          const std::string& name, const std::optional<Windows>& calibration, bool may_measure) {
  SizeChoice s;
  if (o.bytes == 0 && o.bpw == 0) return s;
  for (const std::string& text : o.targets)
    if (text.find(':') != std::string::npos)
      fail(ErrorKind::usage,
           "a size in bytes chooses a type for every matrix, and the target {} names a scheme: give the target without "
           "one, or leave the size out (overrides in a recipe fix the type of single matrices)",
           text);
  if (!calibration)
    fail(ErrorKind::usage, "to allocate a size the matrices are weighed by a calibration text; give --calib FILE");
  if (o.targets.size() > 1 || o.shard_bytes > 0)
    fail(ErrorKind::usage, "a size is allocated for one target, in one file");
  s.bytes = size_asked_for(o, source);
  if (o.resume) {
    const fs::path file = o.out / kResumeFolder / kPlanFile;
    if (auto frozen = read_frozen_allocation(file, describe_choices(o, source, *calibration))) {
      note(fmt::format("schemes as {} has them; nothing is measured again", file.string()));
      s.allocation = std::move(frozen->allocation);
      s.hash = std::move(frozen->hash);
      return s;
    }
  }
  if (!may_measure) {
    s.open = allocation_work(source, choice, name, o.overrides, s.bytes, *calibration);
    return s;
  }
  s.allocation = allocate(source, choice, name, o.overrides, s.bytes, *calibration);
  return s;
}

// The model as a target's files will hold it.
Architecture as_stored(const CompressOptions& o, const Artifact& source, const TargetChoice& choice,
                       std::string* said) {
  std::optional<Dtype> asked = parse_dtype(o.dtype);
  if (const auto named = choice.target->dtype_of(choice.scheme, source.architecture.dtype); named && !asked)
    asked = named;
  else if (named && *named != *asked && choice.scheme != choice.target->canonical(""))
    fail(ErrorKind::usage, "{} stores {}, and --dtype asks for {}; give one of them", choice.text(),
         torch_name_of(*named), torch_name_of(*asked));
  StoredDtype stored = stored_dtype(source.architecture, *source.weights, *choice.target, asked);
  Architecture a = source.architecture;
  a.dtype = stored.dtype;
  *said = std::move(stored.note);
  return a;
}

void refuse_dtype_without_use(const CompressOptions& o) {
  if (o.dtype.empty() || std::any_of(o.targets.begin(), o.targets.end(), [](const std::string& text) {
        return !parse_target(text).target->model_dtypes().empty();
      }))
    return;
  fail(ErrorKind::usage, "--dtype {} is for targets that load safetensors; {} stores every tensor as its scheme says",
       o.dtype, parse_target(o.targets[0]).target->name());
}

std::vector<Output> plan_outputs(const CompressOptions& o, const Artifact& source, const std::string& name,
                                 const PruneMethod& pruning, std::span<const SiteOverride> shares,
                                 const std::optional<Windows>& calibration, bool may_measure, bool say = true) {
  const auto tell = [&](const std::string& text) {
    if (say && !text.empty()) note(text);
  };
  std::vector<Output> outputs;
  const std::optional<Sparsity> sparsity = parse_prune(o.prune).sparsity;
  for (const std::string& text : o.targets) {
    const FittedChoice fit = fitted(parse_target(text), source.architecture);
    TargetChoice choice = fit.choice;
    tell(fit.note);
    for (const Output& other : outputs)
      if (other.plan.choice.text() == choice.text())
        fail(ErrorKind::usage, "the target {} is given twice", choice.text());
    SizeChoice size = allocation_for(o, source, choice, name, calibration, may_measure);
    std::vector<SiteOverride> overrides = o.overrides;
    overrides.insert(overrides.end(), shares.begin(), shares.end());
    if (size.allocation) {
      choice.scheme = size.allocation->uniform() ? size.allocation->scheme : std::string(kMixedScheme);
      for (SiteOverride& chosen : size.allocation->overrides()) overrides.push_back(std::move(chosen));
    }
    std::string dtype_note;
    const Architecture stored = as_stored(o, source, choice, &dtype_note);
    tell(dtype_note);
    Output out{make_plan(stored, choice, name, o.strict, overrides, !o.calib.text.empty() || !o.imatrix.empty()),
               o.targets.size() == 1 ? "" : folder_name(choice)};
    std::string suffix;
    if (size.allocation)
      suffix = fmt::format("{:.2f}bpw",
                           8 * static_cast<double>(size.allocation->bytes) / static_cast<double>(source.parameters()));
    plan_masks(out.plan, stored, sparsity, pruning, overrides);
    complete(out.plan, source, name, o.shard_bytes, suffix);
    if (const Repository& kind = repository_of(*choice.target); kind.remarks)
      for (std::string& remark : kind.remarks(source)) out.plan.remarks.push_back(std::move(remark));
    for (const std::string& remark : out.plan.remarks)
      if (say) warn(fmt::format("{}: {}", choice.text(), remark));
    out.plan.remarks.insert(out.plan.remarks.end(), source.remarks.begin(), source.remarks.end());
    if (!fit.note.empty()) out.plan.remarks.push_back(fit.note);
    if (!dtype_note.empty()) out.plan.remarks.push_back(dtype_note);
    if (size.allocation) out.plan.remarks.push_back(describe(*size.allocation));
    if (!size.hash.empty() && size.hash != out.plan.hash())
      fail(ErrorKind::usage, "{} was made for another plan ({}, and this is {}); remove {} and begin anew",
           (o.out / kResumeFolder / kPlanFile).string(), size.hash, out.plan.hash(), (o.out / kResumeFolder).string());
    out.size = std::move(size);
    outputs.push_back(std::move(out));
  }
  return outputs;
}

// Where choices are judged on little, or on the windows that they were made from.
std::optional<std::string> remark_on_judging(const CompressOptions& o, const Method& method, int64_t windows) {
  if (!method.held_out) {  // then nothing is held out for single matrices either
    for (const SiteOverride& each : o.overrides)
      if (!each.method.empty() && parse_method(each.method, true).held_out)
        return fmt::format(
            "matrices with a method {} of their own were judged on the windows that their choices were made from, "
            "because the method of the run is {}",
            each.method, method.name);
    return std::nullopt;
  }
  if (windows >= kHeldOutPart) return std::nullopt;
  if (held_out_windows(windows) == 0)
    return "the method auto has judged its choices on the one calibration window that they were made from, which "
           "favours those that fit it too closely; give 2 windows or more";
  return fmt::format(
      "the method auto has judged its choices on one window that they were not made from, of {} in all; give {} or "
      "more",
      windows, kHeldOutPart);
}

void refuse_without_text(const CompressOptions& o, const Method& method) {
  if (method.needs_calibration())
    fail(ErrorKind::usage, "the method {} needs a calibration text; give --calib FILE", method.name);
  if (o.asymmetric.value_or(false))
    fail(ErrorKind::usage, "asymmetric calibration needs a calibration text; give --calib FILE");
}

bool makes_masks(const Recipe& r) { return parse_prune(r.prune).masks() || asks_for_masks(r.overrides); }

// How zeros are chosen, where any are.
PruneMethod pruning_of(const CompressOptions& o) {
  if (!makes_masks(o)) {
    if (!o.prune_method.empty())
      fail(ErrorKind::usage,
           "--prune-method {} says how zeros are chosen, and none are asked for; give --prune 2:4 or "
           "--prune sparsity=0.5",
           o.prune_method);
    return {};
  }
  if (o.bytes > 0 || o.bpw > 0)
    fail(ErrorKind::usage,
         "a size in bytes is allocated among types of which some have no number 0; to prune, name a scheme of the "
         "target instead");
  return parse_prune_method(o.prune_method, !o.calib.text.empty());
}

std::vector<SiteOverride> allocate_shares(const CompressOptions& o, const Artifact& source,
                                          const std::optional<Windows>& calibration) {
  const std::optional<Sparsity> sparsity = parse_prune(o.prune).sparsity;
  if (!sparsity)
    fail(ErrorKind::usage, "--prune-allocation {} shares out the zeros of --prune sparsity=SHARE, which is missing",
         o.prune_allocation);
  if (!calibration)
    fail(ErrorKind::usage, "--prune-allocation {} measures on a calibration text; give --calib FILE",
         o.prune_allocation);
  return allocate_sparsity(source, *sparsity, o.overrides, *calibration);
}

// All that is decided and read before the weights.
struct Prepared {
  Method method;
  PruneMethod pruning;                 // of weights that become zero
  std::vector<SiteOverride> shares;    // of zeros, by sensitivity
  ModelLocation location;              // of the original; the name is that of its files
  Artifact source;                     // what is packed: the model that was given, or what pruning left of it
  std::unique_ptr<Artifact> original;  // the model that was given, where pruning left another
  ordered_json pruned;                 // what the report says of that
  std::vector<Output> unpruned;        // of a dry run: plans of the whole model, for what it takes
  std::vector<std::string> stays;      // of what is pruned, in words
  std::vector<Output> outputs;
  std::optional<Windows> windows, calibration;
  std::vector<std::unique_ptr<ResumeState>> states = {};  // of each output; none without calibration
  SiteStatistics input_statistics = {};                   // from an importance matrix, or the norms
  uint64_t activations = Scratch::kNoLimit;               // bytes of them that may lie in memory
  bool asymmetric = false;
  Recipe recipe = {};  // all that was left to kerf decided: what a report says to get the same
  SourceIdentity identity = {};
  std::unique_ptr<Publication> publication = nullptr;
  std::unique_ptr<SaidOnSignals> last_words = nullptr;

  /// What the files are compared with.
  const Artifact& reference() const { return original ? *original : source; }
};

Recipe decided(const CompressOptions& o, const Prepared& p) {
  Recipe r = o;
  r.method = p.method.name;
  if (makes_masks(o)) r.prune_method = p.pruning.name();
  if (!p.shares.empty()) r.prune_allocation.clear();
  r.overrides.insert(r.overrides.end(), p.shares.begin(), p.shares.end());
  if (p.calibration) r.asymmetric = p.asymmetric;
  if (p.pruned.contains("choice")) {
    std::erase_if(r.prune,
                  [](const std::string& part) { return part.starts_with("params=") || part.starts_with("bytes="); });
    for (const auto& part : p.pruned["choice"]["chosen"]) r.prune.push_back(part.get<std::string>());
  }
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    const TargetPlan& plan = p.outputs[i].plan;
    r.targets[i] = plan.choice.text();
    if (plan.dtype != p.source.architecture.dtype) r.dtype = torch_name_of(plan.dtype);
    if (!p.outputs[i].size.allocation) continue;
    for (SiteOverride& chosen : p.outputs[i].size.allocation->overrides()) r.overrides.push_back(std::move(chosen));
  }
  return r;
}

// All that a calibrated run's bytes depend on.
ordered_json describe_run(const Prepared& p, const TargetPlan& plan) {
  ordered_json run = describe_inputs(p.source, *p.calibration);
  std::set<std::string> targets;  // which decide, too, in which folders the files lie
  for (const Output& out : p.outputs) targets.insert(out.plan.choice.text());
  run["target"] = plan.choice.text();
  run["targets"] = targets;
  run["plan"] = plan.hash();
  CompressOptions all;
  static_cast<Recipe&>(all) = p.recipe;
  for (const Option& option : all_options())
    if (option.same_run == SameRun::this_value) run[std::string(option.key)] = to_json(option.field(structs_of(all)));
  return run;
}

// Leaves what was decided beside what the run will save.
void freeze(const CompressOptions& o, const Prepared& p) {
  const fs::path file = o.out / kResumeFolder / kPlanFile;
  if (o.resume && fs::exists(file)) return;
  std::vector<FrozenTarget> targets;
  for (const Output& out : p.outputs)
    targets.push_back({&out.plan, out.size.allocation ? &*out.size.allocation : nullptr});
  write_frozen_plan(file, describe_choices(o, p.source, *p.calibration), p.recipe, targets);
}

std::vector<const TargetPlan*> plans_of(const std::vector<Output>& outputs) {
  std::vector<const TargetPlan*> plans;
  for (const Output& out : outputs) plans.push_back(&out.plan);
  return plans;
}

RunEstimate estimate_run(const CompressOptions& o, const Prepared& p) {
  return estimate(p.source, plans_of(p.outputs), p.method, p.asymmetric, p.calibration ? &*p.calibration : nullptr,
                  o.out, o.memory);
}

std::vector<std::unique_ptr<ResumeState>> find_states(const CompressOptions& o, const Prepared& p) {
  const fs::path folder = o.out / kResumeFolder;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<ResumeState>> states;
  for (const Output& out : p.outputs)
    if (p.calibration) names.push_back(folder_name(out.plan.choice));
  if (p.original) names.emplace_back(kPrunedFolder);
  if (o.resume) refuse_other_targets(folder, names);
  if (p.original) names.pop_back();
  for (size_t i = 0; i < names.size(); ++i)
    states.push_back(std::make_unique<ResumeState>(folder / names[i], describe_run(p, p.outputs[i].plan), o.resume,
                                                   std::chrono::seconds(o.save_every)));
  return states;
}

// What an earlier run has saved to be gone on with is taken over or removed, so its room counts.
void check_space(const CompressOptions& o, const Prepared& p) {
  uint64_t needed = 0, there = 0;
  for (const Output& out : p.outputs) {
    needed += file_bytes(out.plan);
    if (p.calibration)
      needed += state_bytes(out.plan, p.calibration->tokens(), p.source.architecture.hidden(), p.asymmetric);
  }
  if (fs::exists(o.out / kResumeFolder))
    for (const auto& entry : fs::recursive_directory_iterator(o.out / kResumeFolder))
      if (entry.is_regular_file()) there += entry.file_size();
  std::error_code ignored;
  const fs::space_info space = fs::space(o.out, ignored);
  if (!ignored && space.available + there < needed)
    fail(ErrorKind::io, "{} has room for {} bytes, and the files need {}{}", o.out.string(), space.available + there,
         needed, p.calibration ? ", with what is saved for --resume while the run is under way" : "");
}

void pack_all(const CompressOptions& o, Prepared& p) {
  const Artifact& source = p.source;
  const fs::path& stage = p.publication->stage();
  p.publication->begin();
  const std::string saved = fmt::format("what is finished is saved in {}: the same command {}goes on from there",
                                        (o.out / kResumeFolder).string(), o.resume ? "" : "with --resume ");
  const bool goes_on = o.resume && fs::exists(o.out / kResumeFolder);
  p.last_words = std::make_unique<SaidOnSignals>(goes_on ? saved : "no files were written");
  check_space(o, p);
  std::vector<PackJob> jobs;
  for (Output& out : p.outputs) {
    out.writer = create_weights(out.plan, stage / out.folder);
    jobs.push_back({&out.plan, out.writer.get(), &out.plan.remarks});
  }
  if (!o.resume && fs::exists(o.out / kResumeFolder))
    for (const auto& entry : fs::directory_iterator(o.out / kResumeFolder))
      if (!p.original || entry.path().filename() != kPrunedFolder) fs::remove_all(entry.path());
  if (p.calibration) {
    check_ranges(*source.weights, jobs);
    freeze(o, p);
    p.last_words.reset();
    p.last_words = std::make_unique<SaidOnSignals>(saved);
    std::vector<ResumeState*> states;
    for (const auto& state : p.states) {
      state->begin();
      states.push_back(state.get());
    }
    Scratch scratch(p.activations, stage);
    auto outcomes = pack_calibrated({.architecture = source.architecture,
                                     .source = *source.weights,
                                     .method = p.method,
                                     .options = o.quantizer,
                                     .pruning = p.pruning,
                                     .asymmetric = p.asymmetric,
                                     .windows = *p.calibration,
                                     .targets = jobs,
                                     .states = states,
                                     .scratch = scratch});
    for (size_t i = 0; i < p.outputs.size(); ++i) p.outputs[i].outcomes = std::move(outcomes[i]);
  } else {
    pack(source.architecture, *source.weights, *p.method.quantizers.front(), jobs, p.input_statistics,
         p.pruning.pruner);
  }
  for (Output& out : p.outputs) {
    out.files = out.weights = out.writer->commit();
    const Repository& kind = repository_of(*out.plan.choice.target);
    for (fs::path& f : kind.write_companions({source, out.plan, out.weights, stage / out.folder}))
      out.files.push_back(std::move(f));
    if (!p.original) continue;
    out.files.push_back(stage / out.folder / kCorrespondenceFile);
    write_text(out.files.back(), json_text(kerf::to_json(read_correspondence(p.source.path))) + "\n");
  }
}

int64_t width_multiple(const CompressOptions& o) {
  if (o.prune_multiple > 0) return o.prune_multiple;
  int64_t multiple = 1;
  for (const std::string& text : o.targets) {
    const TargetChoice choice = parse_target(text);
    multiple = std::lcm(multiple, choice.target->width_multiple(choice.scheme));
  }
  return multiple;
}

// What the choice of a smaller model follows from.
ordered_json describe_pruning(const CompressOptions& o, const Artifact& source,
                              const std::optional<Windows>& calibration) {
  ordered_json run = describe_inputs(source, calibration.value_or(Windows{}));
  run["prune"] = o.prune;
  run["multiple"] = width_multiple(o);
  run["correction"] = o.prune_correction.value_or(true);
  run["damping"] = o.quantizer.damping;
  return run;
}

// Of the first target's files, or of all targets' the parameters.
void choose_shape_for_size(const CompressOptions& o, const PruneRequest& request, const Artifact& source,
                           const std::string& name, const Windows* calibration, PrunePlan& cut) {
  const Architecture& whole = source.architecture;
  const auto smaller = [&](const PrunedShape& shape) {
    return sliced(whole, outline_of(whole, {shape, cut.vocabulary}));
  };
  const auto parameters = [&](const PrunedShape& shape) { return static_cast<double>(parameters_of(smaller(shape))); };
  const auto bytes = [&](const PrunedShape& shape) {
    const TargetChoice choice = fitted(parse_target(o.targets[0]), whole).choice;
    Architecture stored = smaller(shape);
    std::string said;
    stored.dtype = as_stored(o, source, choice, &said).dtype;
    TargetPlan plan = make_plan(stored, choice, name, false, o.overrides, true);
    complete(plan, source, name, o.shard_bytes);
    return static_cast<double>(file_bytes(plan));
  };
  if (request.bytes > 0 && o.targets.size() > 1)
    fail(ErrorKind::usage, "--prune bytes= is the size of one target's files; give one target, or params=");
  const bool by_bytes = request.bytes > 0;
  const double most =
      by_bytes ? static_cast<double>(request.bytes) : request.params * static_cast<double>(parameters_of(whole));
  ChosenShape chosen = chosen_shape(source, o, width_multiple(o), most,
                                    by_bytes ? std::function<double(const PrunedShape&)>(bytes) : parameters,
                                    calibration, o.out / kResumeFolder / kPrunedFolder);
  cut.shape = std::move(chosen.shape);
  cut.choice = std::move(chosen.report);
}

Prepared prepare(const CompressOptions& o, bool may_measure) {
  if (o.targets.empty()) fail(ErrorKind::usage, "no target was given; see `kerf targets`");
  refuse_dtype_without_use(o);
  const Gate gate = parse_gate(o.gate);
  for (const std::string& remark : remarks_on(gate)) warn(remark);
  if (o.eval.text.empty()) check_measured(gate, metrics_without_text());
  Method method = parse_method(o.method, !o.calib.text.empty());
  if (o.calib.text.empty()) {
    refuse_without_text(o, method);
    for (const SiteOverride& each : o.overrides)
      if (!each.method.empty()) refuse_without_text(o, parse_method(each.method, false));
  }
  const PruneMethod pruning = pruning_of(o);
  if (!o.imatrix.empty() && !o.calib.text.empty())
    fail(ErrorKind::usage,
         "an importance matrix and a calibration text were given; calibration knows more than the matrix: give one");
  if (!o.out.empty()) check_output_folder(o.out, o.force, o.resume);
  ModelLocation location = locate_model(o.model);
  auto [source, remarks] = open_source(location.path, o.requantize);
  if (source.format == kGgufFormat) {  // which may be the only file of a folder
    location.name = model_name(source.path.string());
    if (!source.is_quantized()) location.name = name_without_type(location.name);
  }
  std::optional<Windows> windows = read_windows(source, o.eval), calibration;
  if (!o.calib.text.empty()) calibration = read_calibration(source, o.calib);
  const PruneRequest request = parse_prune(o.prune);
  std::vector<fs::path> texts = {o.eval.text, o.calib.text, o.imatrix};
  texts.insert(texts.end(), request.vocabulary_texts.begin(), request.vocabulary_texts.end());
  std::vector<Destination> folders;  // before schemes are measured: that takes time
  for (const std::string& text : o.targets) {
    const TargetChoice choice = fitted(parse_target(text), source.architecture).choice;
    folders.push_back({o.targets.size() == 1 ? "" : folder_name(choice), &repository_of(*choice.target)});
  }
  if (!o.out.empty()) refuse_inputs(o.out, folders, {source.files, texts});
  for (const std::string& text : o.targets)
    parse_target(text).target->arithmetic_with(o.eval.runtime, source.architecture);
  if (o.eval.runtime.any() && !windows)
    warn("--flash-attention and --kv-cache say with what the files are measured, and without --text nothing is");
  std::optional<PrunePlan> cut;
  const Architecture whole = source.architecture;
  const TokenizerSource whole_tokenizer = source.tokenizer;
  bool open_size = false;
  if (request.reshapes()) {  // what targets refuse is refused before anything is chosen
    cut.emplace(PrunePlan{pruned_shape(whole, request, width_multiple(o)), std::nullopt});
    open_size = request.params < 1 || request.bytes > 0;
    if (request.trims_vocabulary()) {
      cut->vocabulary = trimmed_vocabulary(source, request, o.calib);
      source.tokenizer =
          TokenizerSource([spec = parse_tokenizer_files(cut->vocabulary->files, source.path)] { return spec; });
    }
    source.architecture = sliced(whole, outline_of(whole, *cut));
  }
  std::vector<SiteOverride> shares;  // of the zeros
  if (may_measure && !cut && o.prune_allocation == kBySensitivity) shares = allocate_shares(o, source, calibration);
  std::vector<Output> outputs =
      plan_outputs(o, source, location.name, pruning, shares, calibration, may_measure && !cut, !cut);
  std::vector<Destination> destinations;
  for (const Output& out : outputs)
    destinations.push_back({out.folder, &repository_of(*out.plan.choice.target), out.plan.file_name});
  std::unique_ptr<Publication> publication;
  if (!o.out.empty()) {
    publication = std::make_unique<Publication>(o.out, std::move(destinations));
    publication->check({source.files, texts});
  }
  std::unique_ptr<Artifact> original;
  ordered_json pruned_report;
  std::vector<std::string> stays;
  std::vector<Output> unpruned;
  if (cut && open_size && may_measure) {
    source.architecture = whole;
    choose_shape_for_size(o, request, source, location.name, calibration ? &*calibration : nullptr, *cut);
  }
  if (cut) {
    stays = describe(whole, *cut);
    if (open_size && !may_measure)
      stays.push_back("of depth, ffn and heads what the size leaves: the run measures up to 17 shapes");
    for (const std::string& line : stays) note(line);
    source.architecture = whole;
    source.tokenizer = whole_tokenizer;
    if (!may_measure) unpruned = plan_outputs(o, source, location.name, pruning, shares, calibration, false, false);
  }
  if (cut && may_measure) {
    PrunedSource pruned = prune_source(source, o, *cut, calibration ? &*calibration : nullptr,
                                       o.out / kResumeFolder / kPrunedFolder, describe_pruning(o, source, calibration));
    original = std::make_unique<Artifact>(std::move(source));
    source = std::move(pruned.model);
    pruned_report = std::move(pruned.report);
    if (cut->vocabulary) {  // texts are cut by the tokenizer that is left; the original reads the same tokens
      const Correspondence map = read_correspondence(source.path);
      windows = read_windows(source, o.eval);
      if (windows) windows = to_original_ids(map, *windows);
      if (calibration) calibration = read_calibration(source, o.calib);
    }
    if (o.prune_allocation == kBySensitivity) shares = allocate_shares(o, source, calibration);
    outputs = plan_outputs(o, source, location.name, pruning, shares, calibration, true);
  }
  for (Output& out : outputs) out.plan.remarks.insert(out.plan.remarks.end(), remarks.begin(), remarks.end());
  Prepared p{.method = std::move(method),
             .pruning = pruning,
             .shares = std::move(shares),
             .location = std::move(location),
             .source = std::move(source),
             .original = std::move(original),
             .pruned = std::move(pruned_report),
             .unpruned = std::move(unpruned),
             .stays = std::move(stays),
             .outputs = std::move(outputs),
             .windows = std::move(windows),
             .calibration = std::move(calibration)};
  p.publication = std::move(publication);
  if (p.calibration) p.asymmetric = o.asymmetric.value_or(p.method.held_out && p.calibration->count >= kHeldOutPart);
  if (p.asymmetric && p.calibration->count < kHeldOutPart)
    fail(ErrorKind::usage,
         "asymmetric calibration measures its strength on one of {} windows, and there are {}; give more windows",
         kHeldOutPart, p.calibration->count);
  if (p.calibration)
    if (const auto remark = remark_on_judging(o, p.method, p.calibration->count)) {
      warn(*remark);
      for (Output& out : p.outputs) out.plan.remarks.push_back(*remark);
    }
  for (const std::string& remark : remarks_on_windows(o.eval, p.windows ? &*p.windows : nullptr, o.calib,
                                                      p.calibration ? &*p.calibration : nullptr)) {
    warn(remark);
    for (Output& out : p.outputs) out.plan.remarks.push_back(remark);
  }
  p.recipe = decided(o, p);
  p.identity = identify(p.reference(), p.location.name, p.location.repository, p.location.revision);
  if (o.memory != 0) p.activations = estimate_run(o, p).activations;
  if (!o.imatrix.empty())
    p.input_statistics = statistics_of(p.source.architecture, read_imatrix(o.imatrix), o.imatrix.string());
  else if (!p.calibration)
    p.input_statistics = statistics_of_norms(p.source.architecture, *p.source.weights);
  if (!o.out.empty()) p.states = find_states(o, p);
  return p;
}

// With checksums, so that whoever has only the report can tell whether a file is the same.
std::vector<InputFile> describe_inputs_of(const CompressOptions& o, const Artifact& source) {
  std::vector<std::pair<std::string, fs::path>> files;
  for (const fs::path& f : source.files) files.emplace_back("model", f);
  for (const auto& [key, file] : {std::pair<std::string, fs::path>("calib.text", o.calib.text),
                                  {"eval.text", o.eval.text},
                                  {"imatrix", o.imatrix}})
    if (fs::is_regular_file(file) || is_standard_input(file)) files.emplace_back(key, file);
  for (const std::string& text : parse_prune(o.prune).vocabulary_texts)
    if (fs::is_regular_file(text)) files.emplace_back("prune", text);
  std::vector<InputFile> inputs(files.size());
  parallel_for(static_cast<int64_t>(files.size()), [&](int64_t i) {
    const auto& [key, file] = files[static_cast<size_t>(i)];
    inputs[static_cast<size_t>(i)] = describe_input(key, file);
  });
  return inputs;
}

void publish(const CompressOptions& o, const Report& report, Prepared& p) {
  if (report.passed() || o.publish_anyway) {
    p.last_words.reset();
    p.publication->publish();
    return;
  }
  p.publication->keep();
  warn(
      fmt::format("a gate was missed, and {} is as it was before: the files are in {}; to publish them in spite of it, "
                  "run this again with {}--publish-anyway",
                  o.out.string(), (o.out / kStagingFolder).string(), p.states.empty() ? "" : "--resume "));
}

}  // namespace

RunEstimate dry_run(const CompressOptions& o) {
  if (o.out.empty() && o.resume)
    fail(ErrorKind::usage, "--resume goes on with a run in a folder; give that folder with -o");
  const Prepared p = prepare(o, false);
  RunEstimate e = estimate_run(o, p);
  const Windows* calibration = p.calibration ? &*p.calibration : nullptr;
  measure_time(e, p.source, plans_of(p.unpruned.empty() ? p.outputs : p.unpruned), p.method, o.quantizer, p.asymmetric,
               calibration, p.windows ? &*p.windows : nullptr);
  e.stays = p.stays;
  if (!p.unpruned.empty()) add_pruning(e, p.source, calibration, e.parameters);
  for (const Output& out : p.outputs)
    if (out.size.open) leave_schemes_open(e, out.size.bytes, *out.size.open);
  return e;
}

Report compress(const CompressOptions& o) {
  if (o.out.empty()) fail(ErrorKind::usage, "a folder to write to is missing; give -o DIR (--dry-run needs none)");
  Prepared p = prepare(o, true);
  const Artifact& source = p.source;
  std::vector<Output>& outputs = p.outputs;
  pack_all(o, p);

  Report report{.model = p.location.name,
                .method = p.method.name,
                .parameters = p.reference().parameters(),
                .eval = o.eval,
                .gate = o.gate,
                .windows_have_bos = !p.windows || p.windows->bos,
                .windows_of_documents = p.windows && p.windows->documents,
                .recipe = p.recipe,
                .source = p.identity,
                .inputs = describe_inputs_of(o, p.reference()),
                .calibration_windows = p.calibration ? p.calibration->count : 0,
                .pruned = p.pruned};
  std::vector<Measured> measured;
  const fs::path& stage = p.publication->stage();
  for (const Output& out : outputs) {
    Artifact packed = open_artifact(entrance(out.plan, stage / out.folder, out.weights));
    set_runtime(packed, o.eval.runtime, VerifyMode::runtime);
    measured.push_back({std::move(packed), out.plan.choice, out.files, out.writer->checksums()});
  }
  std::optional<MeasuredBeside> beside;
  if (p.original) beside = {&source, &report.pruned_model};
  if (p.original && p.windows)
    report.pruned["continuations"] = continuations(*p.original, source, read_correspondence(source.path), *p.windows);
  report.targets = measure(p.reference(), measured, p.windows, VerifyMode::runtime, o.gate, stage, beside);
  for (size_t i = 0; i < outputs.size(); ++i) {
    report.targets[i].plan = outputs[i].plan.hash();
    report.targets[i].remarks = outputs[i].plan.remarks;
    report.targets[i].calibrated = std::move(outputs[i].outcomes);
    report.targets[i].allocation = std::move(outputs[i].size.allocation);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const fs::path folder = stage / outputs[i].folder;
    const Report own = report_of(report, i, outputs[i].folder);
    write_text(folder / kCardFile, model_card(own, own.targets[0], outputs[i].plan));
    if (outputs.size() > 1) write_text(folder / kReportFile, shown_json(to_json(own)) + "\n");
  }
  write_text(stage / kReportFile, shown_json(to_json(report)) + "\n");
  publish(o, report, p);
  return report;
}

}  // namespace kerf
