#include "pipeline/runs/verify_run.h"

#include <algorithm>

#include "core/error.h"
#include "formats/gguf.h"
#include "pipeline/repository/publication.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

bool holds_model(const fs::path& folder) {
  return fs::exists(folder / "config.json") || !gguf_models_in(folder).empty();
}

// The path itself, or, of a run with several targets, every folder in it that holds a model.
std::vector<fs::path> packed_models(const fs::path& path) {
  if (!fs::is_directory(path) || holds_model(path)) return {path};
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_directory() && !is_private(entry.path().filename()) && holds_model(entry.path()))
      folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  if (folders.empty()) return {path};  // open_artifact says what is missing
  return folders;
}

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
  parse_gate(o.gate);
  const fs::path packed = resolve_model(o.packed.string());
  const Artifact reference = open_artifact(resolve_model(o.against));
  std::vector<Measured> measured;
  for (const fs::path& path : packed_models(packed)) {
    Artifact a = open_artifact(path);
    const TargetChoice choice = target_of(a);
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
  report.targets = measure(reference, measured, windows, o.numerics, o.gate, root);
  return report;
}

}  // namespace kerf
