#include "pipeline/runs/compress.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/cpu.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/version.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/plan/pack.h"
#include "pipeline/plan/plan.h"
#include "pipeline/repository/card.h"
#include "pipeline/repository/publication.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/allocate.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// One target on its way: plan, folder, open files.
struct Output {
  TargetPlan plan;
  std::string folder;  // in the output folder
  std::unique_ptr<Writer> writer = nullptr;
  std::vector<fs::path> weights = {}, files = {};  // staged; `files`: weights first
  std::vector<SiteOutcome> outcomes = {};
  std::optional<Allocation> allocation = std::nullopt;
};

Artifact open_source(const fs::path& path) {
  Artifact source = open_artifact(path);
  if (source.format != "checkpoint")
    fail(ErrorKind::unsupported,
         "{} is already quantized ({}); give the full-precision checkpoint it was made from, or use `kerf repack` for "
         "another layout of the same numbers",
         path.string(), source.format);
  return source;
}

// A target's name as that of a folder.
std::string folder_name(const TargetChoice& choice) {
  std::string name = choice.text();
  std::replace(name.begin(), name.end(), ':', '-');
  return name;
}

// Chooses schemes for the size that was asked for; 0: none was.
std::optional<Allocation> allocation_of(const CompressOptions& o, const Artifact& source, const TargetChoice& choice,
                                        const std::string& name, const std::optional<Windows>& calibration) {
  if (o.bytes == 0 && o.bpw == 0) return std::nullopt;
  if (!calibration)
    fail(ErrorKind::usage, "to share out a size the matrices are weighed by a calibration text; give --calib FILE");
  if (o.targets.size() > 1 || o.shard_bytes > 0)
    fail(ErrorKind::usage, "a size is shared out for one target, in one file");
  const double wanted = o.bpw * static_cast<double>(source.parameters()) / 8;
  const uint64_t bytes = o.bytes > 0 ? o.bytes : static_cast<uint64_t>(wanted);
  return allocate(source, choice, name, o.overrides, bytes, *calibration);
}

std::vector<Output> plan_outputs(const CompressOptions& o, const Artifact& source,
                                 const std::optional<Windows>& calibration) {
  std::vector<Output> outputs;
  const std::string name = model_name(o.model);
  for (const std::string& text : o.targets) {
    TargetChoice choice = parse_target(text);
    for (const Output& other : outputs)
      if (other.plan.choice.text() == choice.text())
        fail(ErrorKind::usage, "the target {} is given twice", choice.text());
    std::optional<Allocation> allocation = allocation_of(o, source, choice, name, calibration);
    std::vector<SiteOverride> overrides = o.overrides;
    if (allocation) {
      choice.scheme = allocation->scheme;
      overrides.insert(overrides.end(), allocation->overrides.begin(), allocation->overrides.end());
    }
    Output out{
        make_plan(source.architecture, choice, name, o.strict, overrides, !o.calib.text.empty() || !o.imatrix.empty()),
        o.targets.size() == 1 ? "" : folder_name(choice)};
    std::string size;
    if (allocation)
      size = fmt::format("{:.2f}bpw",
                         8 * static_cast<double>(allocation->bytes) / static_cast<double>(source.parameters()));
    complete(out.plan, source.architecture, source.tokenizer, name, o.shard_bytes, size);
    out.allocation = std::move(allocation);
    for (const std::string& remark : out.plan.remarks) warn(fmt::format("{}: {}", choice.text(), remark));
    outputs.push_back(std::move(out));
  }
  return outputs;
}

void refuse_without_text(const CompressOptions& o, const Method& method) {
  if (method.needs_calibration())
    fail(ErrorKind::usage, "the method {} needs a calibration text; give --calib FILE", method.name);
  if (o.asymmetric.value_or(false))
    fail(ErrorKind::usage, "asymmetric calibration needs a calibration text; give --calib FILE");
}

// All that a calibrated run's bytes depend on.
nlohmann::ordered_json describe_run(const CompressOptions& o, const Artifact& source, const Method& method,
                                    bool asymmetric, const Windows& calibration, const TargetPlan& plan) {
  std::set<std::string> targets;  // which decide, too, in which folders the files lie
  for (const std::string& text : o.targets) targets.insert(parse_target(text).text());
  Sha256 ids;
  ids.update(std::as_bytes(std::span(calibration.ids)));
  nlohmann::ordered_json run = {{"kerf", version()}, {"kernels", name_of(isa())}};
  for (const fs::path& f : source.files)
    run["source " + f.filename().string()] =
        fmt::format("{} bytes of {}", fs::file_size(f), fs::last_write_time(f).time_since_epoch().count());
  run["target"] = plan.choice.text();
  run["targets"] = targets;
  run["plan"] = plan.hash();
  run["method"] = method.name;
  run["damping"] = o.quantizer.damping;
  run["refine"] = o.quantizer.refine;
  run["asymmetric"] = asymmetric;
  run["calibration"] = fmt::format("{} windows of {} tokens, {}", calibration.count, calibration.length, ids.finish());
  return run;
}

// All that is decided and read before the weights.
struct Prepared {
  Method method;
  Artifact source;
  std::vector<Output> outputs;
  std::optional<Windows> windows, calibration;
  std::vector<std::unique_ptr<ResumeState>> states = {};  // of each output; none without calibration
  SiteStatistics input_statistics = {};                   // from an importance matrix, or the norms
  uint64_t activations = Scratch::kNoLimit;               // bytes of them that may lie in memory
  bool asymmetric = false;
  std::unique_ptr<Publication> publication = nullptr;
};

RunEstimate estimate_run(const CompressOptions& o, const Prepared& p) {
  std::vector<const TargetPlan*> plans;
  for (const Output& out : p.outputs) plans.push_back(&out.plan);
  return estimate(p.source, plans, p.method, o.quantizer, p.asymmetric, p.calibration ? &*p.calibration : nullptr,
                  o.out, o.memory);
}

std::vector<std::unique_ptr<ResumeState>> find_states(const CompressOptions& o, const Prepared& p) {
  const fs::path folder = o.out / kResumeFolder;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<ResumeState>> states;
  for (const Output& out : p.outputs)
    if (p.calibration) names.push_back(folder_name(out.plan.choice));
  if (o.resume) refuse_other_targets(folder, names);
  for (size_t i = 0; i < names.size(); ++i)
    states.push_back(std::make_unique<ResumeState>(
        folder / names[i], describe_run(o, p.source, p.method, p.asymmetric, *p.calibration, p.outputs[i].plan),
        o.resume, std::chrono::seconds(o.save_every)));
  return states;
}

// What an earlier run has saved to be gone on with is taken over or removed, so its room counts.
void check_space(const CompressOptions& o, const Prepared& p) {
  uint64_t needed = 0, there = 0;
  for (const Output& out : p.outputs) {
    needed += out.plan.bytes();
    if (p.calibration)
      needed += state_bytes(out.plan, p.calibration->tokens(), p.source.architecture.hidden, p.asymmetric);
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
  check_space(o, p);
  std::vector<PackJob> jobs;
  for (Output& out : p.outputs) {
    out.writer = create_weights(out.plan, stage / out.folder);
    jobs.push_back({&out.plan, out.writer.get()});
  }
  if (!o.resume) fs::remove_all(o.out / kResumeFolder);
  if (p.calibration) {
    std::vector<ResumeState*> states;
    for (const auto& state : p.states) {
      state->begin();
      states.push_back(state.get());
    }
    Scratch scratch(p.activations, stage);
    auto outcomes = pack_calibrated(source.architecture, *source.weights, p.method, o.quantizer, p.asymmetric,
                                    *p.calibration, jobs, states, scratch);
    for (size_t i = 0; i < p.outputs.size(); ++i) p.outputs[i].outcomes = std::move(outcomes[i]);
  } else {
    pack(source.architecture, *source.weights, *p.method.quantizers.front(), jobs, p.input_statistics);
  }
  for (Output& out : p.outputs) {
    out.files = out.weights = out.writer->commit();
    const Repository& kind = repository_of(*out.plan.choice.target);
    for (fs::path& f : kind.write_companions({source, out.plan, out.weights, stage / out.folder}))
      out.files.push_back(std::move(f));
  }
}

Prepared prepare(const CompressOptions& o) {
  if (o.targets.empty()) fail(ErrorKind::usage, "no target was given; see `kerf targets`");
  const Gate gate = parse_gate(o.gate);
  if (o.eval.text.empty()) check_measured(gate, {"bytes", "bpw_all", "bpw_body", "bpw_embedding"});
  Method method = parse_method(o.method, !o.calib.text.empty());
  if (o.calib.text.empty()) {
    refuse_without_text(o, method);
    for (const SiteOverride& each : o.overrides)
      if (!each.method.empty()) refuse_without_text(o, parse_method(each.method, false));
  }
  if (!o.imatrix.empty() && !o.calib.text.empty())
    fail(ErrorKind::usage,
         "an importance matrix and a calibration text were given; calibration knows more than the matrix: give one");
  check_output_folder(o.out, o.force, o.resume);
  Artifact source = open_source(resolve_model(o.model));
  std::optional<Windows> windows = read_windows(source, o.eval), calibration;
  if (!o.calib.text.empty()) calibration = read_calibration(source, o.calib);
  std::vector<Output> outputs = plan_outputs(o, source, calibration);
  std::vector<Destination> destinations;
  for (const Output& out : outputs)
    destinations.push_back({out.folder, &repository_of(*out.plan.choice.target), out.plan.file_name});
  auto publication = std::make_unique<Publication>(o.out, std::move(destinations));
  const fs::path texts[] = {o.eval.text, o.calib.text, o.imatrix};
  publication->check({source.files, texts});
  Prepared p{std::move(method), std::move(source), std::move(outputs), std::move(windows), std::move(calibration)};
  p.publication = std::move(publication);
  if (p.calibration) p.asymmetric = o.asymmetric.value_or(p.method.held_out && p.calibration->count >= kHeldOutPart);
  if (p.asymmetric && p.calibration->count < kHeldOutPart)
    fail(ErrorKind::usage,
         "asymmetric calibration measures its strength on one of {} windows, and there are {}; give more windows",
         kHeldOutPart, p.calibration->count);
  if (o.memory != 0) p.activations = estimate_run(o, p).activations;
  if (!o.imatrix.empty())
    p.input_statistics = statistics_of(p.source.architecture, read_imatrix(o.imatrix), o.imatrix.string());
  else if (!p.calibration)
    p.input_statistics = statistics_of_norms(p.source.architecture, *p.source.weights);
  p.states = find_states(o, p);
  return p;
}

void publish(const CompressOptions& o, const Report& report, Prepared& p) {
  if (report.passed() || o.publish_anyway) {
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

RunEstimate dry_run(const CompressOptions& o) { return estimate_run(o, prepare(o)); }

Report compress(const CompressOptions& o) {
  Prepared p = prepare(o);
  const Artifact& source = p.source;
  std::vector<Output>& outputs = p.outputs;
  pack_all(o, p);

  Report report{.model = model_name(o.model),
                .method = p.method.name,
                .parameters = source.parameters(),
                .eval = o.eval,
                .gate = o.gate,
                .recipe = o};
  report.recipe->method = p.method.name;
  if (p.calibration) report.recipe->asymmetric = p.asymmetric;
  std::vector<Measured> measured;
  const fs::path& stage = p.publication->stage();
  for (const Output& out : outputs) {
    measured.push_back({open_artifact(entrance(out.plan, stage / out.folder, out.weights)), out.plan.choice, out.files,
                        out.writer->checksums()});
  }
  report.targets = measure(source, measured, p.windows, VerifyMode::runtime, o.gate, stage);
  for (size_t i = 0; i < outputs.size(); ++i) {
    report.targets[i].plan = outputs[i].plan.hash();
    report.targets[i].remarks = outputs[i].plan.remarks;
    report.targets[i].calibrated = std::move(outputs[i].outcomes);
    if (outputs[i].allocation) {
      report.recipe->targets[i] = outputs[i].plan.choice.text();
      for (const SiteOverride& chosen : outputs[i].allocation->overrides) report.recipe->overrides.push_back(chosen);
    }
    report.targets[i].allocation = std::move(outputs[i].allocation);
    write_text(stage / outputs[i].folder / kCardFile, model_card(report, report.targets[i], outputs[i].plan));
  }
  write_text(stage / kReportFile, to_json(report).dump(2) + "\n");
  publish(o, report, p);
  return report;
}

}  // namespace kerf
