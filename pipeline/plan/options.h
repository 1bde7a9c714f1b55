// What a run is asked to do, as the command line or a recipe says it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
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
  RuntimeSettings runtime = {};            // with which the packed model is computed
  std::filesystem::path second_text = {};  // of another kind, measured too, from its beginning; empty: none
  bool operator==(const EvalOptions&) const = default;
};

/// Which tokens calibration sees: model/chat/calibration_text.h says how they are cut.
struct CalibrationOptions {
  std::filesystem::path text;  // UTF-8 or JSONL, or own_text_tokens(); empty: no calibration
  int64_t windows = 128;       // at most; fewer when the text is shorter
  int64_t ctx = 256;
  uint64_t seed = 0;  // 0: the order of the file
  bool operator==(const CalibrationOptions&) const = default;
};

inline constexpr const char *kAnswers = "assistant", *kAllTokens = "all";

/// How a packed model is trained (distill/phase.h).
struct DistillOptions {
  std::vector<std::string> phases;  // empty: it is not
  std::filesystem::path text;       // that is trained on; empty: the calibration's; an own text comes on top of that
  int64_t windows = 0;              // of a text, at most; 0: as many as calibration has
  std::string tokens;               // of chats that are trained on end to end: kAnswers or kAllTokens; empty: kAnswers
  std::vector<std::string> steps;   // one number for all phases, or one for each; empty: kerf chooses
  std::string time;                 // "20min": for all that follows the blocks; then kerf chooses its steps by it
  int64_t batch = 8;                // windows of a step
  double rate = 0;                  // relative to the size of what is trained; 0: the phase's own
  int64_t rank = 16;                // of adapters
  uint64_t seed = 0;                // of the order of the windows
  double temperature = 1;           // of an own text
  bool operator==(const DistillOptions&) const = default;
};

/// Of so many phases; empty for empty. Error usage for what is no number above 0, and for another number of numbers.
std::vector<int64_t> parse_steps(const std::vector<std::string>&, size_t phases);
/// "90s", "20min", "1.5h": seconds. Error usage for anything else.
double parse_duration(const std::string&);

/// In place of a text: "self:2000000" stands for so many tokens that the model writes itself; nothing for a name of a
/// file. Error usage for "self:" with no such number behind it.
std::optional<int64_t> own_text_tokens(const std::filesystem::path& text);

}  // namespace kerf
