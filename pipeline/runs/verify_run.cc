#include "pipeline/runs/verify_run.h"

#include "core/error.h"
#include "core/log.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/models_in.h"
#include "pipeline/runs/text_windows.h"
#include "verify/adapter.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// A smaller vocabulary cuts the text in its own way; the original can follow that, not the other way round.
std::optional<Windows> windows_for(const Artifact& reference, std::span<const Measured> measured,
                                   const EvalOptions& eval) {
  for (const Measured& m : measured) {
    const Correspondence c = read_correspondence(m.artifact.path);
    if (c.tokens.empty()) continue;
    const std::optional<Windows> windows = read_windows(m.artifact, eval);
    return windows ? std::optional(to_original_ids(c, *windows)) : std::nullopt;
  }
  return read_windows(reference, eval);
}

}  // namespace

Report verify_run(const VerifyOptions& o) {
  if (o.eval.text.empty()) fail(ErrorKind::usage, "verify needs a text to compare the models on; give --text FILE");
  for (const std::string& remark : remarks_on(parse_gate(o.gate))) warn(remark);
  const fs::path packed = resolve_model(o.packed.string());
  const Artifact reference = open_artifact(resolve_model(o.against));
  const std::vector<fs::path> models = models_in(packed);
  if (!o.adapter.empty()) refuse_adapter_of_several(packed.string(), models.size());
  std::vector<Measured> measured;
  for (const fs::path& path : models) {
    Artifact a = open_artifact(path);
    set_runtime(a, o.eval.runtime, o.numerics);
    if (!o.adapter.empty())
      set_adapter(a, o.adapter);
    else
      say_left_out(a);
    // Of a plain checkpoint, such as pruning leaves: in float32.
    const TargetChoice choice = a.target.empty() ? parse_target("checkpoint") : target_of(a);
    std::vector<fs::path> files = a.files;
    measured.push_back({std::move(a), choice, std::move(files)});
  }
  Report report{.model = model_name(o.against),
                .method = "unknown",
                .parameters = reference.parameters(),
                .eval = o.eval,
                .gate = o.gate};
  const fs::path root = fs::is_directory(packed) ? packed : packed.parent_path();
  const std::optional<Windows> windows = windows_for(reference, measured, o.eval);
  report.windows_have_bos = !windows || windows->bos;
  report.windows_of_documents = windows && windows->documents;
  const EvalOptions of_second = of_second_text(o.eval);
  const std::optional<Windows> second = windows_for(reference, measured, of_second);
  auto remarks = remarks_on_windows(o.eval, windows ? &*windows : nullptr, {}, nullptr);
  for (std::string& remark : remarks_on_windows(of_second, second ? &*second : nullptr, {}, nullptr))
    remarks.push_back(std::move(remark));
  for (const std::string& remark : remarks) warn(remark);
  report.targets = measure(reference, measured, windows, o.numerics, o.gate, root, std::nullopt, second);
  for (TargetResult& target : report.targets)
    target.remarks.insert(target.remarks.end(), remarks.begin(), remarks.end());
  return report;
}

}  // namespace kerf
