// The windows of a text, in a model's own tokens, that it is evaluated or calibrated on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/text/windows.h"
#include "pipeline/plan/options.h"
#include "verify/artifact.h"

namespace kerf {

/// The evaluation windows, chats through the model's template; nullopt when no text was given. Error bad_input for a
/// text that fills no window or is none (model/text/text_file.h), a model without a tokenizer, or tokens that its
/// embedding lacks; usage for a ctx below 2 or past the model's context; and as Records says.
std::optional<Windows> read_windows(const Artifact&, const EvalOptions&);

/// The evaluation of the second text alone: as if it were the first. Error usage where there is no first.
EvalOptions of_second_text(const EvalOptions&);

/// The calibration windows, chats through the model's template. At most `windows` of them: the text may hold fewer.
/// Errors as above, and as cut_calibration says. REQUIRES: a text was given.
/// With `answers` Windows::answers says where assistants speak in chats.
Windows read_calibration(const Artifact&, const CalibrationOptions&, bool answers = false);
/// Windows of `tokens` tokens in all that the model writes itself (distill/own_text.h), at most c.windows. Once per
/// process: asked again for the same it gives the same.
Windows own_windows(const Artifact&, const CalibrationOptions&, int64_t tokens, double temperature);
/// The same, with a plain text without a seed cut into the chunks of llama-imatrix (model/text/windows.h): BOS only
/// where the tokenizer begins a text with it.
Windows read_imatrix_chunks(const Artifact&, const CalibrationOptions&);

/// What is to be known of figures on these windows, a sentence each: that there are fewer than were asked for, and that
/// what is evaluated was calibrated on: both texts are the same or one is inside of the other, by content, or windows
/// of one stand in those of the other. nullptr: there are none.
std::vector<std::string> remarks_on_windows(const EvalOptions&, const Windows* evaluated, const CalibrationOptions&,
                                            const Windows* calibrated);

}  // namespace kerf
