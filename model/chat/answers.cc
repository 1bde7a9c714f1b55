#include "model/chat/answers.h"

#include <algorithm>

namespace kerf {
namespace {

// The characters that both begin with.
size_t common(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

std::string_view text_at(const jinja::Value& message, const char* key) {
  const jinja::Value* v = message.dict() ? message.dict()->find_text(key) : nullptr;
  return v && v->is_text() ? std::string_view(v->text()) : std::string_view();
}

}  // namespace

std::vector<std::pair<size_t, size_t>> find_answers(
    std::string_view whole, const jinja::Items& messages,
    const std::function<std::string(size_t n, bool begins_answer)>& first) {
  // Some templates render the last answer in another way: then by its content, and what follows that.
  const auto end_of = [&](size_t i, size_t begin) {
    if (i + 1 == messages.size()) return whole.size();
    const std::string text = first(i + 1, false);
    if (whole.starts_with(text)) return text.size();
    const std::string_view content = text_at(messages[i], "content");
    const size_t there = content.empty() ? text.npos : text.rfind(content), here = whole.find(content, begin);
    if (there == text.npos || here == whole.npos) return begin;
    const size_t behind = here + content.size();
    return behind + common(whole.substr(behind), std::string_view(text).substr(there + content.size()));
  };
  std::vector<std::pair<size_t, size_t>> answers;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view role = text_at(messages[i], "role");
    if (role != "assistant" && role != "model") continue;
    const size_t begin = i == 0 ? 0 : common(whole, first(i, true)), end = end_of(i, begin);
    if (begin < end) answers.emplace_back(begin, end);
  }
  return answers;
}

std::vector<uint8_t> answers_of(const Tokenizer& tokenizer, const Document& d, std::span<const int32_t> ids) {
  if (!d.rendered) return std::vector<uint8_t>(ids.size(), 1);
  std::vector<uint8_t> answers(ids.size());
  // The tokens that the text up to there and all of it have in common.
  const auto tokens_before = [&](size_t at) {
    if (at >= d.text.size()) return ids.size();
    const std::vector<int32_t> part = tokenizer.encode(d.text.substr(0, at), false);
    return static_cast<size_t>(std::mismatch(ids.begin(), ids.end(), part.begin(), part.end()).first - ids.begin());
  };
  for (const auto& [begin, end] : d.answers)
    for (size_t i = tokens_before(begin), last = tokens_before(end); i < last; ++i) answers[i] = 1;
  return answers;
}

}  // namespace kerf
