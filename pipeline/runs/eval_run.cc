#include "pipeline/runs/eval_run.h"

#include "core/error.h"
#include "core/log.h"
#include "model/run/blockwise_forward.h"
#include "model/run/logits.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {

EvalResult eval_run(const EvalRunOptions& o) {
  const Artifact a = open_artifact(resolve_model(o.model));
  if (!o.logits.empty()) refuse_inputs(o.logits, {.model = a.files, .others = std::span(&o.eval.text, 1)});
  const std::optional<Windows> windows = read_windows(a, o.eval);
  if (!windows) fail(ErrorKind::usage, "eval needs a text; give --text FILE");
  std::vector<std::string> remarks = remarks_on_windows(o.eval, &*windows, {}, nullptr);
  for (const std::string& remark : remarks) warn(remark);
  const std::unique_ptr<WeightProvider> weights = weights_of(a, o.numerics);
  BlockwiseForward stream(a.architecture, *weights, arithmetic_of(a, o.numerics), *windows);
  {
    Progress progress("block", a.architecture.layers());
    stream.run([&](int64_t) { progress.advance(); });
  }
  const Logits logits(a.architecture, *weights, stream);
  EvalResult result{a.format, evaluate(logits, *windows), windows->bos, windows->documents, std::move(remarks)};
  if (!o.logits.empty()) write_logits_npy(o.logits, logits, *windows);
  return result;
}

}  // namespace kerf
