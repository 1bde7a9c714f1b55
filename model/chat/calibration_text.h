// The windows of tokens that a model is calibrated or evaluated on: of plain UTF-8, or of records
// (model/chat/records.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/chat/records.h"
#include "model/text/tokenizer.h"
#include "model/text/windows.h"

namespace kerf {

struct CalibrationWindows {
  int64_t count = 128;   // at most; fewer when the text is shorter
  int64_t length = 256;  // tokens
  uint64_t seed = 0;
  bool answers = false;  // find those of assistants in chats (Windows::answers)
};

/// Cuts a text into windows.
///   Plain text: as cut_windows does, BOS and length - 1 consecutive ids each, from the head of the text. With a seed,
///   `count` of all windows of the text are drawn without replacement.
///   Records: the ids of the documents stand back to back, each begun as the tokenizer begins a text (a rendered chat:
///   as its template does), and every `length` ids are a window. With a seed the documents are shuffled first. No more
///   lines are read than the windows need.
/// Seed 0 keeps the order of the file. The order of a seed depends on nothing else: document or window i goes by
/// splitmix64(seed + i * 2^64/golden ratio), then by i.
/// `name` is what errors call the text, `model` the model. Errors: usage for a length below 2 or a count below 1;
/// bad_input for a text that is not UTF-8 (with the offset) or fills no window (with the numbers), and as Records
/// says.
Windows cut_calibration(const Tokenizer&, std::optional<int32_t> bos, std::string_view text,
                        const std::filesystem::path& name, const std::string& model, const CalibrationWindows&);

/// The same for evaluation, at most `most` windows of `context` tokens (0: as many as there are): plain text as
/// cut_windows does, records back to back as above, both after `skip` ids.
Windows cut_evaluation(const Tokenizer&, std::optional<int32_t> bos, std::string_view text,
                       const std::filesystem::path& name, const std::string& model, int64_t context, int64_t most,
                       int64_t skip);

/// How many of the windows stand in the others, wherever those are cut: more than half of their runs of kSharedIds ids
/// (or of a quarter of the shorter windows, where that is less) do. Time linear in both.
inline constexpr int64_t kSharedIds = 24;
int64_t windows_shared(const Windows&, const Windows& others);

}  // namespace kerf
