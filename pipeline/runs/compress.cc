#include "pipeline/runs/compress.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/parallel.h"
#include "model/text/text_file.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/distill/distill.h"
#include "pipeline/plan/pack.h"
#include "pipeline/plan/range.h"
#include "pipeline/repository/card.h"
#include "pipeline/runs/allocate_sparsity.h"
#include "pipeline/runs/continuations.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/prepared_run.h"
#include "pipeline/runs/pruned_source.h"
#include "pipeline/runs/speed_run.h"
#include "prune/slice.h"
#include "verify/adapter.h"
#include "verify/correspondence.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

// What an earlier run has saved to be gone on with is taken over or removed, so its room counts.
void check_space(const CompressOptions& o, const Prepared& p) {
  uint64_t needed = 0, there = 0;
  for (const Output& out : p.outputs) {
    needed +=
        file_bytes(out.plan) + (adapts(o.distill) ? adapter_bytes(out.plan, p.source.architecture, o.distill.rank) : 0);
    if (p.calibration)
      needed += state_bytes(out.plan, p.calibration->tokens(), p.source.architecture.hidden(), p.asymmetric);
  }
  if (fs::exists(o.out / kResumeFolder))
    for (const auto& entry : fs::recursive_directory_iterator(o.out / kResumeFolder))
      if (entry.is_regular_file()) there += entry.file_size();
  if (const auto room = free_bytes(o.out); room && *room + there < needed)
    fail(ErrorKind::io, "{} has room for {} bytes, and the files need {}{}", o.out.string(), *room + there, needed,
         p.calibration ? ", with what is saved for --resume while the run is under way" : "");
}

// The packed file is read again, trained, and another takes its place.
void distill_output(const CompressOptions& o, Prepared& p, Output& out) {
  const fs::path folder = p.publication->stage() / out.folder;
  const Artifact packed = open_artifact(entrance(out.plan, folder, out.weights));
  Scratch scratch(p.activations, p.publication->stage());
  std::optional<Windows> second = p.second;
  if (second && p.original)
    second = to_packed_ids(read_correspondence(p.source.path), *second, p.original->architecture.vocab());
  Distilled trained = distill({.original = p.reference(),
                               .source = p.source,
                               .windows = *p.training,
                               .second = second ? &*second : nullptr,
                               .kept = p.original ? read_correspondence(p.source.path).tokens : std::vector<int32_t>(),
                               .options = p.recipe.distill,
                               .scratch = scratch,
                               .saved = o.out / kResumeFolder / folder_name(out.plan.choice) / "training",
                               .save_every = std::chrono::seconds(o.save_every)},
                              packed, out.plan);
  out.writer = create_weights(out.plan, folder);
  write_packed(trained.weights, packed, out.plan, *out.writer);
  out.weights = out.writer->commit();  // under the names that they had
  if (!trained.weights.adapters.empty()) {
    const auto files = repository_of(*out.plan.choice.target).write_adapter(trained.weights.adapters, packed);
    out.files.insert(out.files.end(), files.begin(), files.end());
    out.adapted = true;
    note(fmt::format("an adapter of rank {} lies in {}/, {} bytes beside the {} of the weights", o.distill.rank,
                     kAdapterFolder, adapter_bytes(out.plan, packed.architecture, o.distill.rank),
                     file_bytes(out.plan)));
  }
  out.distilled = std::move(trained.report);
  p.recipe.distill.steps.clear();  // which --time may have left open, are those of further targets too
  for (const int64_t n : trained.steps) p.recipe.distill.steps.push_back(std::to_string(n));
  p.recipe.distill.time.clear();
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
                                     .kl_hessian = p.kl_hessian,
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
    if (p.original) {
      out.files.push_back(stage / out.folder / kCorrespondenceFile);
      write_text(out.files.back(), json_text(kerf::to_json(read_correspondence(p.source.path))) + "\n");
    }
    if (p.training) distill_output(o, p, out);
  }
}

// With checksums, so that whoever has only the report can tell whether a file is the same.
std::vector<InputFile> describe_inputs_of(const CompressOptions& o, const Artifact& source) {
  std::vector<std::pair<std::string, fs::path>> files;
  for (const fs::path& f : source.files) files.emplace_back("model", f);
  Recipe recipe = o;
  for_files(recipe, [&](const RecipeFile& f) {
    if (fs::is_regular_file(f.file) || is_standard_input(f.file)) files.emplace_back(f.key, f.file);
  });
  std::vector<InputFile> inputs(files.size());
  parallel_for(static_cast<int64_t>(files.size()), [&](int64_t i) {
    const auto& [key, file] = files[static_cast<size_t>(i)];
    inputs[static_cast<size_t>(i)] = describe_input(key, file);
  });
  return inputs;
}

// The original's and each target's.
void write_texts(const Prepared& p, std::span<const Measured> measured, Report& report) {
  std::vector<const Artifact*> packed;
  for (const Measured& m : measured) packed.push_back(&m.artifact);
  auto all = continuations(p.reference(), packed, *p.windows);
  for (size_t i = 0; i < all.size(); ++i) report.targets[i].continuations = std::move(all[i]);
}

// The original, what pruning left of it, and each target.
void measure_speeds(const Prepared& p, std::span<const Measured> measured, Report& report) {
  const SpeedLimits limits = limits_of_report(p.reference().architecture);
  report.speed = SpeedBefore{.ctx = limits.ctx, .threads = threads()};
  if (p.original) report.speed->pruned.emplace();
  const auto measure = [&](const Artifact& a, VerifyMode n, Speed& best) {
    Speed s = measure_speed(a, n, limits);
    s.prefill = std::max(best.prefill, s.prefill);
    s.decode = std::max(best.decode, s.decode);
    best = std::move(s);
  };
  for (int round = 0; round < kRoundsOfReport; ++round) {
    measure(p.reference(), VerifyMode::float32, report.speed->original);
    if (p.original) measure(p.source, VerifyMode::float32, *report.speed->pruned);
    for (size_t i = 0; i < measured.size(); ++i) {
      std::optional<Speed>& of_target = report.targets[i].speed;
      measure(measured[i].artifact, VerifyMode::runtime, of_target ? *of_target : of_target.emplace());
    }
  }
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
  const Windows* const calibration = p.calibration ? &*p.calibration : nullptr;
  std::optional<Architecture> smaller;
  if (p.cut) smaller = sliced(p.source.architecture, outline_of(p.source.architecture, *p.cut));
  measure_time(e, {.source = p.source,
                   .plans = plans_of(p.cut ? p.unpruned : p.outputs),
                   .method = p.method,
                   .options = o.quantizer,
                   .pruning = p.pruning,
                   .asymmetric = p.asymmetric,
                   .kl_hessian = p.kl_hessian,
                   .calibration = calibration,
                   .evaluated = (p.windows ? p.windows->tokens() : 0) + (p.second ? p.second->tokens() : 0),
                   .smaller = smaller ? &*smaller : nullptr});
  e.stays = p.stays;
  if (p.training)
    add_training(e, {.source = p.source,
                     .packed = smaller ? *smaller : p.source.architecture,
                     .plans = plans_of(p.cut ? p.unpruned : p.outputs),
                     .options = o.distill,
                     .windows = p.training->count,
                     .length = p.training->length,
                     .own_tokens = own_text_tokens(o.distill.text).value_or(0)});
  if (p.cut)
    add_pruning(e, {.source = p.source,
                    .smaller = *smaller,
                    .shape = p.cut->shape,
                    .trials = p.trials,
                    .correct = o.prune_correction.value_or(true),
                    .damping = o.quantizer.damping,
                    .calibration = calibration});
  if (calibration && o.prune_allocation == kBySensitivity)
    add_shares(e, allocation_products(p.source, o.overrides, *calibration));
  if (p.cut || p.pruning.pruner) {
    if (p.windows) add_texts(e, p.source, smaller ? *smaller : p.source.architecture, std::ssize(p.outputs));
    add_speeds(e, p.source.architecture, std::ssize(p.outputs) + (p.cut ? 2 : 1));
  }
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
    if (out.adapted) set_adapter(packed, stage / out.folder / kAdapterFolder);
    measured.push_back({std::move(packed), out.plan.choice, out.files, out.writer->checksums()});
  }
  std::optional<MeasuredBeside> beside;
  if (p.original) beside = {&source, &report.pruned_model};
  report.targets = measure(p.reference(), measured, p.windows, VerifyMode::runtime, o.gate, stage, beside, p.second);
  if (p.original || p.pruning.pruner) {
    if (p.windows) write_texts(p, measured, report);
    measure_speeds(p, measured, report);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    report.targets[i].plan = outputs[i].plan.hash();
    report.targets[i].remarks = outputs[i].plan.remarks;
    report.targets[i].distilled = std::move(outputs[i].distilled);
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
