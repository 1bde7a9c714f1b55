#include "pipeline/calibration_windows.h"

#include "core/error.h"
#include "core/file.h"
#include "model/calibration_text.h"

namespace kerf {

Windows read_calibration(const Artifact& a, const CalibrationOptions& c) {
  if (c.ctx > a.architecture.context)
    fail(ErrorKind::usage, "calibration windows of {} tokens are longer than the {} that the model was made for", c.ctx,
         a.architecture.context);
  if (a.tokenizer.tokens.empty())
    fail(ErrorKind::bad_input, "{} has no tokenizer.json beside it, so a text cannot be cut into tokens",
         a.path.string());
  const Tokenizer tokenizer(a.tokenizer);
  const std::optional<int32_t> bos = a.tokenizer.bos ? a.tokenizer.bos : a.architecture.bos;
  Windows windows = cut_calibration(tokenizer, bos, read_text(c.text), c.text, a.path.string(),
                                    {.count = c.windows, .length = c.ctx, .seed = c.seed});
  for (const int32_t id : windows.ids)
    if (id < 0 || id >= a.architecture.vocab)
      fail(ErrorKind::bad_input, "the tokenizer gave token {}, and the embedding of {} has {} rows", id,
           a.path.string(), a.architecture.vocab);
  return windows;
}

}  // namespace kerf
