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

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == text.npos ? std::string_view() : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

std::vector<std::pair<size_t, size_t>> find_answers(
    std::string_view whole, const jinja::Items& messages,
    const std::function<std::string(size_t n, bool begins_answer)>& first) {
  std::vector<std::pair<size_t, size_t>> answers;
  size_t said = 0;  // up to where the messages so far stand
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view role = text_at(messages[i], "role"), content = trimmed(text_at(messages[i], "content"));
    const size_t here = content.empty() ? whole.npos : whole.find(content, said);
    const bool found = here != whole.npos;
    if (found && role != "system" && role != "developer")  // which templates put elsewhere
      said = here + content.size();
    if (role != "assistant" && role != "model") continue;
    const std::string before = i == 0 ? "" : first(i, true);
    const bool says_where = whole.starts_with(before) && (i == 0 || before != first(i, false));
    if (!says_where && !found) continue;
    const size_t begin = says_where ? before.size() : here;
    size_t end = whole.size();
    if (i + 1 < messages.size()) {
      const std::string text = first(i + 1, false);
      const size_t there = found ? text.rfind(content) : text.npos;
      if (whole.starts_with(text))
        end = text.size();
      else if (there != text.npos)
        end = said + common(whole.substr(said), std::string_view(text).substr(there + content.size()));
      else
        end = found ? said : begin;
    }
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
