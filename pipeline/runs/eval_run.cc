#include "pipeline/runs/eval_run.h"

#include "core/error.h"
#include "core/log.h"
#include "model/run/blockwise_forward.h"
#include "model/run/logits.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {

EvalResult eval_run(const EvalRunOptions& o) {
  const Artifact a = open_artifact(resolve_model(o.model));
  const std::optional<Windows> windows = read_windows(a, o.eval);
  if (!windows) fail(ErrorKind::usage, "eval needs a text; give --text FILE");
  const std::unique_ptr<WeightProvider> weights = weights_of(a, o.numerics);
  BlockwiseForward stream(a.architecture, *weights, arithmetic_of(a, o.numerics), *windows);
  {
    Progress progress("block", a.architecture.layers());
    stream.run([&](int64_t) { progress.advance(); });
  }
  const Logits logits(a.architecture, *weights, stream);
  EvalResult result{a.format, evaluate(logits, *windows), windows->bos};
  if (!o.logits.empty()) write_logits_npy(o.logits, logits, *windows);
  return result;
}

}  // namespace kerf
