// Where in a rendered chat assistants speak: what a student of chats learns.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/jinja_value.h"
#include "model/chat/records.h"

namespace kerf {

/// What each assistant's message has become in the rendering `whole` of all messages, with what ends it, as
/// [begin, end) in order. first(n, begins_answer) renders the first n >= 1 of them alone, with the beginning of an
/// answer behind them if asked; where the whole begins with that, the answer begins behind it. Where a template renders
/// earlier messages in another way once there are more, or has no beginning of an answer, the answer begins with its
/// content, behind those of the messages before it; one that is not found is left out. Errors as first().
std::vector<std::pair<size_t, size_t>> find_answers(
    std::string_view whole, const jinja::Items& messages,
    const std::function<std::string(size_t n, bool begins_answer)>& first);

/// Of each of a document's ids whether it is one of an answer's: all of a document that is no chat.
std::vector<uint8_t> answers_of(const Tokenizer&, const Document&, std::span<const int32_t> ids);

}  // namespace kerf
