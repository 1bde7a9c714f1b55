// What a run is asked to do, as the command line or a recipe says it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "targets/runtime_settings.h"

namespace kerf {

/// Which tokens are evaluated: consecutive windows of ctx tokens, BOS and ctx-1 of the text's ids (without special
/// tokens), or ctx ids where the model has no BOS (model/text/windows.h).
struct EvalOptions {
  std::filesystem::path text;  // empty: no evaluation
  int64_t ctx = 256;
  int64_t windows = 100;  // at most; fewer when the text is shorter
  int64_t skip_tokens = 0;
  RuntimeSettings runtime = {};  // with which the packed model is computed
  bool operator==(const EvalOptions&) const = default;
};

/// Which tokens calibration sees: model/chat/calibration_text.h says how they are cut.
struct CalibrationOptions {
  std::filesystem::path text;  // UTF-8 or JSONL; empty: no calibration
  int64_t windows = 128;       // at most; fewer when the text is shorter
  int64_t ctx = 256;
  uint64_t seed = 0;  // 0: the order of the file
  bool operator==(const CalibrationOptions&) const = default;
};

}  // namespace kerf
