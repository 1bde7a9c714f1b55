#include "pipeline/runs/text_windows.h"

#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "model/chat/calibration_text.h"

namespace kerf {
namespace {

// What both kinds of windows need of a model and promise about their ids.
Windows windows_of(const Artifact& a, int64_t ctx, std::string_view option,
                   const std::function<Windows(const Tokenizer&, std::optional<int32_t> bos)>& cut) {
  if (ctx > a.architecture.context)
    fail(ErrorKind::usage, "{} {} is longer than the {} tokens that the model was made for", option, ctx,
         a.architecture.context);
  if (a.tokenizer.tokens.empty())
    fail(ErrorKind::bad_input, "{} has no tokenizer.json beside it, so a text cannot be cut into tokens",
         a.path.string());
  Windows windows = cut(Tokenizer(a.tokenizer), a.tokenizer.bos ? a.tokenizer.bos : a.architecture.bos);
  for (const int32_t id : windows.ids)
    if (id < 0 || id >= a.architecture.vocab())
      fail(ErrorKind::bad_input, "the tokenizer gave token {}, and the embedding of {} has {} rows", id,
           a.path.string(), a.architecture.vocab());
  return windows;
}

}  // namespace

std::optional<Windows> read_windows(const Artifact& a, const EvalOptions& e) {
  if (e.text.empty()) return std::nullopt;
  return windows_of(a, e.ctx, "--ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_windows(tokenizer.encode(read_text(e.text), false), bos, e.ctx, e.windows, e.skip_tokens);
  });
}

Windows read_calibration(const Artifact& a, const CalibrationOptions& c) {
  return windows_of(a, c.ctx, "--calib-ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_calibration(tokenizer, bos, read_text(c.text), c.text, a.path.string(),
                           {.count = c.windows, .length = c.ctx, .seed = c.seed});
  });
}

Windows read_imatrix_chunks(const Artifact& a, const CalibrationOptions& c) {
  const std::string text = read_text(c.text);
  if (c.seed != 0 || is_json_lines(text, c.text)) return read_calibration(a, c);
  return windows_of(a, c.ctx, "--calib-ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_chunks(tokenizer.encode(text, false), a.tokenizer.add_bos ? bos : std::nullopt, c.ctx, c.windows);
  });
}

}  // namespace kerf
