// `kerf verify`: packed files, whoever made them, beside the checkpoint they came from.
#pragma once

#include <filesystem>
#include <string>

#include "pipeline/plan/options.h"
#include "pipeline/report/report.h"

namespace kerf {

struct VerifyOptions {
  std::filesystem::path packed;   // MODEL, or a folder of folders with one each
  std::string against;            // MODEL
  std::filesystem::path adapter;  // of the packed model; empty: it is measured without one
  EvalOptions eval;
  std::string gate;
  VerifyMode numerics = VerifyMode::runtime;
};

/// Error usage without a text; otherwise as open_artifact and verify.
Report verify_run(const VerifyOptions&);

}  // namespace kerf
