// `kerf eval`: how well one model predicts a text.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/run/evaluate.h"
#include "pipeline/plan/options.h"
#include "verify/artifact.h"

namespace kerf {

struct EvalRunOptions {
  std::string model;
  std::filesystem::path adapter;  // of the model; empty: it is computed without one
  EvalOptions eval;
  VerifyMode numerics = VerifyMode::runtime;
  std::filesystem::path logits;  // empty: not written
};

struct EvalResult {
  std::string model;
  EvalOptions eval;               // on which text, and how
  std::filesystem::path adapter;  // with which it was computed; empty: none
  std::string format;
  Perplexity perplexity;
  bool windows_have_bos = true;  // for window_rule()
  RuntimeSettings runtime = {};  // with which it was computed
  bool windows_of_documents = false;
  std::vector<std::string> remarks = {};  // on the windows, printed already
};

/// Writes log-probabilities to `logits` as NumPy float32 [windows, ctx, vocab].
EvalResult eval_run(const EvalRunOptions&);
/// The same of every model in a folder of models (models_in.h), on the second text too. Error usage when there is more
/// than one result and `logits` is set.
std::vector<EvalResult> eval_models(const EvalRunOptions&);

}  // namespace kerf
