#include "pipeline/eval_run.h"

#include "core/error.h"
#include "core/log.h"
#include "model/logits.h"
#include "model/stream.h"
#include "pipeline/measure.h"
#include "pipeline/model_path.h"
#include "pipeline/text_windows.h"

namespace kerf {

EvalResult eval_run(const EvalRunOptions& o) {
  const Artifact a = open_artifact(resolve_model(o.model));
  const std::optional<Windows> windows = read_windows(a, o.eval);
  if (!windows) fail(ErrorKind::usage, "eval needs a text; give --text FILE");
  const std::unique_ptr<Weights> weights = weights_of(a, o.numerics);
  Stream stream(a.architecture, *weights, arithmetic_of(a, o.numerics), *windows);
  {
    Progress progress("block", a.architecture.layers);
    stream.run([&](int64_t) { progress.advance(); });
  }
  const Logits logits(a.architecture, *weights, stream);
  EvalResult result{a.format, evaluate(logits, *windows)};
  if (!o.logits.empty()) write_logits_npy(o.logits, logits, *windows);
  return result;
}

}  // namespace kerf
