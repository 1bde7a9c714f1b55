#include "pipeline/runs/eval_run.h"

#include "core/error.h"
#include "core/log.h"
#include "model/run/blockwise_forward.h"
#include "model/run/logits.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/models_in.h"
#include "pipeline/runs/text_windows.h"
#include "verify/adapter.h"

namespace kerf {

EvalResult eval_run(const EvalRunOptions& o) {
  Artifact a = open_artifact(resolve_model(o.model));
  set_runtime(a, o.eval.runtime, o.numerics);
  if (!o.adapter.empty())
    set_adapter(a, o.adapter);
  else
    say_left_out(a);
  if (!o.logits.empty()) refuse_inputs(o.logits, {.model = a.files, .others = std::span(&o.eval.text, 1)});
  const std::optional<Windows> windows = read_windows(a, o.eval);
  if (!windows) fail(ErrorKind::usage, "eval needs a text; give --text FILE");
  std::vector<std::string> remarks = remarks_on_windows(o.eval, &*windows, {}, nullptr);
  for (const std::string& remark : remarks) warn(remark);
  const std::unique_ptr<WeightProvider> weights = weights_of(a, o.numerics);
  BlockwiseForward stream(a.architecture, *weights, arithmetic_of(a, o.numerics), *windows);
  {
    Progress progress("evaluating block", a.architecture.layers());
    stream.run([&](int64_t) { progress.advance(); });
  }
  const Logits logits(a.architecture, *weights, stream);
  std::optional<Progress> progress;
  const auto advance = [&](int64_t, int64_t parts) {
    if (!progress) progress.emplace("evaluating logits", parts);
    progress->advance();
  };
  EvalResult result{.model = o.model,
                    .eval = o.eval,
                    .adapter = o.adapter,
                    .format = a.format,
                    .perplexity = evaluate(logits, *windows, advance),
                    .windows_have_bos = windows->bos,
                    .runtime = runtime_of(a, o.numerics),
                    .windows_of_documents = windows->documents,
                    .remarks = std::move(remarks)};
  progress.reset();
  if (!o.logits.empty()) write_logits_npy(o.logits, logits, *windows);
  return result;
}

std::vector<EvalResult> eval_models(const EvalRunOptions& o) {
  const std::vector<std::filesystem::path> models = resolve_models(o.model);
  std::vector<EvalOptions> texts = {o.eval};
  if (!o.eval.second_text.empty()) texts.push_back(of_second_text(o.eval));
  texts[0].second_text.clear();
  if (!o.adapter.empty()) refuse_adapter_of_several(o.model, models.size());
  if (!o.logits.empty() && models.size() > 1)
    fail(ErrorKind::usage, "{} holds {} models, and --logits is one file; name one of them, such as {}", o.model,
         models.size(), models[0].string());
  if (!o.logits.empty() && texts.size() > 1)
    fail(ErrorKind::usage, "--logits is one file, and there are two texts; leave out --second-text");
  std::vector<EvalResult> results;
  for (const std::filesystem::path& model : models)
    for (const EvalOptions& text : texts) {
      EvalRunOptions one = o;
      if (models.size() > 1) one.model = model;
      one.eval = text;
      results.push_back(eval_run(one));
    }
  return results;
}

}  // namespace kerf
