// `kerf eval`: how well one model predicts a text.
#pragma once

#include <filesystem>
#include <string>

#include "model/run/evaluate.h"
#include "pipeline/plan/options.h"
#include "verify/artifact.h"

namespace kerf {

struct EvalRunOptions {
  std::string model;
  EvalOptions eval;
  VerifyMode numerics = VerifyMode::runtime;
  std::filesystem::path logits;  // empty: not written
};

struct EvalResult {
  std::string format;
  Perplexity perplexity;
  bool windows_have_bos = true;  // for window_rule()
  bool windows_of_documents = false;
  std::vector<std::string> remarks = {};  // on the windows, printed already
};

/// Writes log-probabilities to `logits` as NumPy float32 [windows, ctx, vocab].
EvalResult eval_run(const EvalRunOptions&);

}  // namespace kerf
