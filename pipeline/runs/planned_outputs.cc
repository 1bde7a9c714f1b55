#include "pipeline/runs/planned_outputs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cpu.h"
#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/version.h"
#include "pipeline/plan/frozen_plan.h"
#include "pipeline/plan/masks.h"
#include "pipeline/plan/stored_dtype.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/repository/repository.h"
#include "prune/request.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

uint64_t size_asked_for(const CompressOptions& o, const Artifact& source) {
  return o.bytes > 0 ? o.bytes : static_cast<uint64_t>(o.bpw * static_cast<double>(source.parameters()) / 8);
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

}  // namespace

std::string folder_name(const TargetChoice& choice) {
  std::string name = choice.text();
  std::replace(name.begin(), name.end(), ':', '-');
  return name;
}

ordered_json describe_inputs(const Artifact& source, const Windows& calibration) {
  Sha256 ids;
  ids.update(std::as_bytes(std::span(calibration.ids)));
  ordered_json run = {{"kerf", version()}, {"kernels", name_of(isa())}};
  if (!source.checksum.empty())
    run["source"] = source.checksum;
  else
    for (const fs::path& f : source.files)
      run["source " + f.filename().string()] =
          fmt::format("{} bytes of {}", fs::file_size(f), fs::last_write_time(f).time_since_epoch().count());
  run["calibration"] = fmt::format("{} windows of {} tokens, {}", calibration.count, calibration.length, ids.finish());
  return run;
}

ordered_json describe_choices(const CompressOptions& o, const Artifact& source, const Windows& calibration) {
  ordered_json run = describe_inputs(source, calibration);
  run["targets"] = ordered_json::array();
  for (const std::string& text : o.targets) run["targets"].push_back(parse_target(text).text());
  run["bytes"] = size_asked_for(o, source);
  run["overrides"] = to_json(o).at("overrides");
  return run;
}

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
                                 const std::optional<Windows>& calibration, bool may_measure, bool say) {
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
    complete(out.plan, stored, source, name, o.shard_bytes, suffix);
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

std::vector<const TargetPlan*> plans_of(const std::vector<Output>& outputs) {
  std::vector<const TargetPlan*> plans;
  for (const Output& out : outputs) plans.push_back(&out.plan);
  return plans;
}

}  // namespace kerf
