#include "pipeline/runs/prepared_run.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/error.h"
#include "model/arch/family.h"
#include "model/chat/calibration_text.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/distill/distill.h"
#include "pipeline/plan/frozen_plan.h"
#include "pipeline/plan/masks.h"
#include "pipeline/plan/option.h"
#include "pipeline/prune/shape_choice.h"
#include "pipeline/repository/hub_companions.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/allocate_sparsity.h"
#include "pipeline/runs/pruned_source.h"
#include "pipeline/runs/source.h"
#include "pipeline/runs/text_windows.h"
#include "pipeline/runs/vocabulary_texts.h"
#include "prune/request.h"
#include "prune/slice.h"
#include "verify/correspondence.h"
#include "verify/gate.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

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
  if (o.hessian == kKlHessian)
    fail(ErrorKind::usage, "--hessian {} sends gradients back through a calibration text; give --calib FILE",
         kKlHessian);
}

// Where --hessian kl does little, or harm.
std::vector<std::string> remarks_on_kl_hessian(const Prepared& p) {
  if (!p.kl_hessian) return {};
  std::vector<std::string> remarks;
  if (std::none_of(p.method.quantizers.begin(), p.method.quantizers.end(),
                   [](const Quantizer* q) { return q->needs_hessian(); }))
    remarks.push_back(
        fmt::format("the method {} rounds each weight by itself, so --hessian {} changes little; gptq and auto feed "
                    "errors back",
                    p.method.name, kKlHessian));
  int64_t widest = 0;
  for (const Site& s : p.source.architecture.block_sites(0)) widest = std::max(widest, s.out);
  if (const int64_t tokens = p.calibration->tokens(); tokens < widest)
    remarks.push_back(
        fmt::format("{} calibration tokens are fewer than the {} outputs of a matrix: what --hessian {} measures on so "
                    "few is mostly chance, and does harm; give more windows, or --hessian {}",
                    tokens, widest, kKlHessian, kInputHessian));
  return remarks;
}

bool chooses_codes_or_zeros(const TargetPlan& plan) {
  return std::any_of(plan.matrices.begin(), plan.matrices.end(),
                     [](const PlannedMatrix& m) { return m.site.layer >= 0 && (m.storage.layout || m.sparsity); });
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

// What is evaluated, in some model's ids.
struct Evaluated {
  std::optional<Windows> first, second;

  Evaluated through(const std::function<Windows(const Windows&)>& f) const {
    Evaluated e;
    if (first) e.first = f(*first);
    if (second) e.second = f(*second);
    return e;
  }
};

Evaluated read_evaluated(const Artifact& a, const EvalOptions& e) {
  return {read_windows(a, e), read_windows(a, of_second_text(e))};
}

void refuse_shared(const std::optional<Windows>& evaluated, const Windows& training, const char* option,
                   const char* or_else) {
  if (!evaluated) return;
  if (const int64_t shared = windows_shared(*evaluated, training); shared > 0)
    fail(ErrorKind::usage,
         "{0} of the {1} windows of {2} stand in the text that --distill would train on, so that their figures would "
         "say nothing of other text; give another {2}, {3}or fewer --distill-windows",
         shared, evaluated->count, option, or_else);
}

// What is trained on, in the ids of the model that is packed; none of it may be evaluated. An own text is written only
// where the run `may_measure`.
Windows read_training(const CompressOptions& o, const Artifact& packed, const Artifact& original,
                      const Evaluated& evaluated, const std::optional<Windows>& calibration, bool may_measure) {
  CalibrationOptions c = o.calib;
  if (o.distill.windows > 0) c.windows = o.distill.windows;
  const auto own = own_text_tokens(o.distill.text);
  if (!o.distill.text.empty() && !own) c.text = o.distill.text;
  if (const auto tokens = own_text_tokens(c.text)) {
    if (o.distill.windows == 0) c.windows = std::max<int64_t>(1, *tokens / c.ctx);
    if (!may_measure) return {.count = c.windows, .length = c.ctx, .ids = {}};
  }
  const bool answers = o.distill.tokens != kAllTokens;
  Windows training = c == o.calib && calibration && !answers ? *calibration : read_calibration(packed, c, answers);
  refuse_shared(evaluated.first, training, "--text", "--skip-tokens, ");
  refuse_shared(evaluated.second, training, "--second-text", "");
  check_training_windows(training);
  if (!own) return training;
  CalibrationOptions of_own = c;  // comes before the text, of which the last windows are held out
  of_own.windows = std::max<int64_t>(1, *own / c.ctx);
  ++of_own.seed;  // another text than one that calibration has written
  if (!may_measure) return {.count = training.count + of_own.windows, .length = c.ctx, .ids = {}};
  Windows all = own_windows(original, of_own, *own, o.distill.temperature);
  return joined_windows(std::move(all), training);
}

// What has to be known before anything is measured or pruned.
void check_training(const CompressOptions& o, const Architecture& original, const Architecture& packed,
                    bool trims_vocabulary) {
  check_distill(o.distill, original, packed);
  if (o.distill.phases.empty()) return;
  if (o.calib.text.empty()) fail(ErrorKind::usage, "--distill trains on a text; give --calib FILE");
  if (trims_vocabulary && (own_text_tokens(o.distill.text) || own_text_tokens(o.calib.text)))
    fail(ErrorKind::usage,
         "the model would write its own text with tokens that --prune vocab= takes away; give a text as --calib and "
         "--distill-text");
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

int64_t width_multiple(const CompressOptions& o) {
  if (o.prune_multiple > 0) return o.prune_multiple;
  int64_t multiple = 1;
  for (const std::string& text : o.targets) {
    const TargetChoice choice = parse_target(text);
    multiple = std::lcm(multiple, choice.target->width_multiple(choice.scheme));
  }
  return multiple;
}

Recipe decided(const CompressOptions& o, const Prepared& p) {
  Recipe r = o;
  r.method = p.method.name;
  if (makes_masks(o)) r.prune_method = p.pruning.name();
  if (!p.shares.empty()) r.prune_allocation.clear();
  r.overrides.insert(r.overrides.end(), p.shares.begin(), p.shares.end());
  if (p.calibration) r.asymmetric = p.asymmetric;
  if (p.original) r.prune_multiple = width_multiple(o);  // which other targets of the run may have wanted
  if (p.pruned.contains("choice")) {
    std::erase_if(r.prune, asks_for_size);
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

bool for_the_hub(const CompressOptions& o) {
  return std::any_of(o.targets.begin(), o.targets.end(), [](const std::string& text) {
    return repository_of(*parse_target(text).target).check_source == check_hub_source;
  });
}

// Why transformers would load the original and not a smaller model; "": it loads it, or no target is meant for it.
std::string refused_by_the_hub(const CompressOptions& o, const Architecture& whole, const Architecture& smaller) {
  return for_the_hub(o) && hub_refuses(whole).empty() ? hub_refuses(smaller) : "";
}

// For those who are refused: numbers of heads for the width at hand, and a width for the heads.
std::string widths_that_load(const Architecture& a) {
  const int64_t hidden = a.hidden(), heads = a.axis(a.axis_named("head")).groups;
  std::vector<int64_t> fewer;
  for (int64_t n = heads; n > 0 && fewer.size() < 3; --n)
    if (hidden % n == 0) fewer.push_back(n);
  return fmt::format("give a heads= that leaves {}, or a hidden= that leaves {} (with --prune-multiple {})",
                     fmt::join(fewer, " or "), hidden / heads * heads, heads);
}

void refuse_what_the_hub_refuses(const CompressOptions& o, const Architecture& whole, const Architecture& smaller) {
  if (const std::string reason = refused_by_the_hub(o, whole, smaller); !reason.empty())
    fail(ErrorKind::usage,
         "transformers would not load the model that --prune leaves: {}; {}, or targets of llama.cpp alone", reason,
         widths_that_load(smaller));
}

// Of the one target's files, or of all targets' the parameters. With `trials` nothing is measured: they become the
// shapes that would be, and the shape is one of that size.
void choose_shape_for_size(const CompressOptions& o, const PruneRequest& request, const Artifact& source,
                           const std::string& name, const Windows* calibration, PrunePlan& cut,
                           std::vector<PrunedShape>* trials) {
  const bool by_bytes = request.bytes > 0;
  if (by_bytes && o.targets.size() > 1)
    fail(ErrorKind::usage, "--prune bytes= is the size of one target's files; give one target, or params=");
  const Architecture& whole = source.architecture;
  const TargetChoice choice = fitted(parse_target(o.targets[0]), whole).choice;
  std::string said;
  const Dtype dtype = as_stored(o, source, choice, &said).dtype;
  PrunePlan trial = cut;
  const auto size = [&](const PrunedShape& shape) {
    trial.shape = shape;
    Architecture smaller = sliced(whole, outline_of(whole, trial));
    if (!by_bytes) return static_cast<double>(parameters_of(smaller));
    smaller.dtype = dtype;
    TargetPlan plan = make_plan(smaller, choice, name, false, o.overrides, true);
    complete(plan, smaller, source, name, o.shard_bytes);
    return static_cast<double>(file_bytes(plan));
  };
  const auto loads = [&](const PrunedShape& shape) {
    trial.shape = shape;
    return refused_by_the_hub(o, whole, sliced(whole, outline_of(whole, trial))).empty();
  };
  const double most =
      by_bytes ? static_cast<double>(request.bytes) : request.params * static_cast<double>(parameters_of(whole));
  if (trials) {
    check_trial_windows(calibration);
    const auto loss = [&](const PrunedShape& shape) {  // the more goes, the more is lost for each byte
      trials->push_back(shape);
      const double gone = 1 - size(shape) / size({});
      return gone * gone;
    };
    cut.shape = choose_shape(whole, width_multiple(o), most, {size, loss, loads}).shape;
    return;
  }
  ChosenShape chosen =
      chosen_shape(source, o, width_multiple(o), most, size, loads, calibration, o.out / kResumeFolder / kPrunedFolder);
  cut.shape = std::move(chosen.shape);
  cut.choice = std::move(chosen.report);
}

}  // namespace

void freeze(const CompressOptions& o, const Prepared& p) {
  const fs::path file = o.out / kResumeFolder / kPlanFile;
  if (o.resume && fs::exists(file)) return;
  std::vector<FrozenTarget> targets;
  for (const Output& out : p.outputs)
    targets.push_back({&out.plan, out.size.allocation ? &*out.size.allocation : nullptr});
  write_frozen_plan(file, describe_choices(o, p.source, *p.calibration), p.recipe, targets);
}

RunEstimate estimate_run(const CompressOptions& o, const Prepared& p) {
  return estimate(p.source, plans_of(p.outputs), p.method, p.asymmetric, p.kl_hessian,
                  p.calibration ? &*p.calibration : nullptr, o.out, o.memory);
}

Prepared prepare(const CompressOptions& o, bool may_measure) {
  if (o.targets.empty()) fail(ErrorKind::usage, "no target was given; see `kerf targets`");
  check_texts(o);
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
  const PruneRequest request = parse_prune(o.prune);
  if (o.prune_correction && !request.structural())
    fail(ErrorKind::usage,
         "--prune-correction says what is done with channels and heads that stay, and none go; give --prune ffn=, "
         "heads=, hidden=, depth=, params= or bytes=");
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
  Evaluated evaluated = read_evaluated(source, o.eval);
  std::optional<Windows> calibration;
  if (!o.calib.text.empty()) calibration = read_calibration(source, o.calib);
  std::vector<fs::path> texts = {o.eval.text, o.eval.second_text, o.calib.text, o.imatrix};
  texts.insert(texts.end(), request.vocabulary_texts.begin(), request.vocabulary_texts.end());
  std::vector<Destination> folders;  // before schemes are measured: that takes time
  for (const std::string& text : o.targets) {
    const TargetChoice choice = fitted(parse_target(text), source.architecture).choice;
    folders.push_back({o.targets.size() == 1 ? "" : folder_name(choice), &repository_of(*choice.target)});
  }
  if (!o.out.empty()) refuse_inputs(o.out, folders, {source.files, texts});
  for (const std::string& text : o.targets)
    parse_target(text).target->arithmetic_with(o.eval.runtime, source.architecture);
  if (o.eval.runtime.any() && !evaluated.first)
    warn("--flash-attention and --kv-cache say with what the files are measured, and without --text nothing is");
  std::optional<PrunePlan> cut;
  const Architecture whole = source.architecture;
  const TokenizerSource whole_tokenizer = source.tokenizer;
  if (request.reshapes()) {  // what targets refuse is refused before anything is chosen
    check_hub_source(source);
    cut.emplace(PrunePlan{pruned_shape(whole, request, width_multiple(o)), std::nullopt});
    for (const std::string& missed : shares_missed(whole, request, cut->shape, width_multiple(o))) warn(missed);
    if (request.trims_vocabulary()) {
      cut->vocabulary = trimmed_vocabulary(source, request, o.calib);
      source.tokenizer = TokenizerSource([spec = spec_of(*cut->vocabulary, source.path)] { return spec; });
    }
    source.architecture = sliced(whole, outline_of(whole, *cut));
    refuse_what_the_hub_refuses(o, whole, source.architecture);
  }
  check_training(o, whole, source.architecture, request.trims_vocabulary());
  std::optional<Windows> training;
  if (!o.distill.phases.empty() && !request.trims_vocabulary())
    training = read_training(o, source, source, evaluated, calibration, may_measure);
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
  std::vector<PrunedShape> trials;
  const Windows* calibrated_on = calibration ? &*calibration : nullptr;
  if (cut) {
    stays = describe(whole, *cut);
    if (request.sized()) {
      source.architecture = whole;
      choose_shape_for_size(o, request, source, location.name, calibrated_on, *cut, may_measure ? nullptr : &trials);
    }
    if (may_measure) stays = describe(whole, *cut);
    if (!trials.empty())
      stays.push_back(
          fmt::format("of hidden, depth, ffn and heads what the size leaves (bytes below are those of the whole "
                      "model): the run measures {} shapes",
                      trials.size()));
    if (!may_measure) check_text(cut->shape, o, calibrated_on);
    if (request.sized() && describe(whole, cut->shape).empty())
      warn("no channels, heads and blocks are pruned: the model is no larger than what was asked for");
    if (stays.empty()) stays.push_back("everything: the model is small enough as it is");
    for (const std::string& line : stays) note(line);
    source.architecture = whole;
    source.tokenizer = whole_tokenizer;
    if (!may_measure) unpruned = plan_outputs(o, source, location.name, pruning, shares, calibration, false, false);
  }
  if (cut && may_measure) {
    PrunedSource pruned = prune_source(source, o, *cut, calibrated_on, o.out / kResumeFolder / kPrunedFolder,
                                       describe_pruning(o, source, calibration));
    original = std::make_unique<Artifact>(std::move(source));
    source = std::move(pruned.model);
    pruned_report = std::move(pruned.report);
    pruned_report["stays"] = stays;
    if (request.sparsity) pruned_report["zeros_after"] = text_of(*request.sparsity);
    if (cut->vocabulary) {  // texts are cut by the tokenizer that is left; the original reads the same tokens
      const Correspondence map = read_correspondence(source.path);
      const Evaluated in_packed_ids = read_evaluated(source, o.eval);
      evaluated = in_packed_ids.through([&](const Windows& w) { return to_original_ids(map, w); });
      if (calibration) calibration = read_calibration(source, o.calib);
      if (!o.distill.phases.empty()) training = read_training(o, source, *original, in_packed_ids, calibration, true);
    }
    check_distill(o.distill, original->architecture, source.architecture);  // where a size has chosen the shape
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
             .cut = may_measure ? std::nullopt : std::move(cut),
             .trials = std::move(trials),
             .stays = std::move(stays),
             .outputs = std::move(outputs),
             .windows = std::move(evaluated.first),
             .second = std::move(evaluated.second),
             .calibration = std::move(calibration),
             .training = std::move(training)};
  p.publication = std::move(publication);
  if (p.calibration) p.asymmetric = o.asymmetric.value_or(p.method.held_out && p.calibration->count >= kHeldOutPart);
  if (p.asymmetric && p.calibration->count < kHeldOutPart)
    fail(ErrorKind::usage,
         "asymmetric calibration measures its strength on one of {} windows, and there are {}; give more windows",
         kHeldOutPart, p.calibration->count);
  p.kl_hessian = o.hessian == kKlHessian && std::any_of(p.outputs.begin(), p.outputs.end(), [](const Output& out) {
                   return chooses_codes_or_zeros(out.plan);
                 });
  if (o.hessian == kKlHessian && !p.kl_hessian)
    warn(fmt::format("--hessian {} counts errors of codes and zeros, and there are none: it changes nothing",
                     kKlHessian));
  std::set<std::string> said;
  const auto remark = [&](const std::string& text) {
    if (!said.insert(text).second) return;
    warn(text);
    for (Output& out : p.outputs) out.plan.remarks.push_back(text);
  };
  for (const std::string& text : remarks_on_kl_hessian(p)) remark(text);
  if (p.calibration)
    if (const auto text = remark_on_judging(o, p.method, p.calibration->count)) remark(*text);
  for (const std::string& text : remarks_on_windows(o.eval, p.windows ? &*p.windows : nullptr, o.calib,
                                                    p.calibration ? &*p.calibration : nullptr))
    remark(text);
  for (const std::string& text : remarks_on_windows(of_second_text(o.eval), p.second ? &*p.second : nullptr, o.calib,
                                                    p.second && p.calibration ? &*p.calibration : nullptr))
    remark(text);
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

}  // namespace kerf
