// Lines are only indexed at first; each is parsed, rendered and encoded when its turn comes, until enough ids are
// there.
#include "model/chat/calibration_text.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "model/chat/jinja_json.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Vigna's splitmix64: a bijection of 64 bits, so keys of different i never meet.
uint64_t splitmix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// 0 .. count - 1 in the order of the seed.
std::vector<size_t> order_of(size_t count, uint64_t seed) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  if (seed == 0) return order;
  const auto key = [seed](size_t i) { return splitmix64(seed + (i + 1) * 0x9E3779B97F4A7C15u); };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  return order;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos; }

void require_text(std::string_view text, const std::string& name) {
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  const bool utf16 = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  fail(ErrorKind::bad_input, "{} is not UTF-8: byte {} belongs to no character{}; convert it, for instance by {}", name,
       at, utf16 ? ", and the first two are UTF-16's mark" : "",
       utf16 ? "`iconv -f UTF-16 -t UTF-8`" : "`iconv -f ISO-8859-1 -t UTF-8` if that is what it is");
}

std::string keys_of(const jinja::Dict& d) {
  std::string keys;
  for (const auto& [key, value] : d.entries()) {
    if (keys.size() > 100) return keys + ", ...";
    keys += (keys.empty() ? "\"" : ", \"") + key.text() + "\"";
  }
  return keys.empty() ? "nothing" : keys;
}

Windows documents_in_windows(const Tokenizer& tokenizer, JsonLines& lines, const std::string& name,
                             const CalibrationWindows& wanted) {
  Windows w{.count = 0, .length = wanted.length, .ids = {}};
  size_t enough = 0;
  if (__builtin_mul_overflow(wanted.count, wanted.length, &enough)) enough = SIZE_MAX;
  for (const size_t i : order_of(lines.size(), wanted.seed)) {
    if (w.ids.size() >= enough) break;
    const std::vector<int32_t> ids = encode(tokenizer, lines.document(i));
    w.ids.insert(w.ids.end(), ids.begin(), ids.end());
  }
  w.count = std::min(wanted.count, static_cast<int64_t>(w.ids.size()) / wanted.length);
  if (w.count == 0)
    fail(ErrorKind::bad_input,
         "the {} documents of {} have {} tokens together: too few for one window of {}; give more text or a smaller "
         "context",
         lines.size(), name, w.ids.size(), wanted.length);
  w.ids.resize(static_cast<size_t>(w.tokens()));
  return w;
}

Windows drawn(const Windows& all, const CalibrationWindows& wanted) {
  Windows w{.count = std::min(wanted.count, all.count), .length = all.length, .ids = {}, .bos = all.bos};
  const std::vector<size_t> order = order_of(static_cast<size_t>(all.count), wanted.seed);
  for (int64_t i = 0; i < w.count; ++i) {
    const auto window = all.window(static_cast<int64_t>(order[static_cast<size_t>(i)]));
    w.ids.insert(w.ids.end(), window.begin(), window.end());
  }
  return w;
}

}  // namespace

bool is_json_lines(std::string_view text, const std::filesystem::path& file) {
  if (file.extension() == ".jsonl" || file.extension() == ".ndjson") return true;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const size_t begin = text.find_first_not_of(" \t\r\n\v\f");
  if (begin == std::string_view::npos || text[begin] != '{') return false;
  try {
    return jinja::parse_json(text.substr(begin, text.find('\n', begin) - begin), "the first line").dict() != nullptr;
  } catch (const Error&) {
    return false;  // a text that begins with a brace
  }
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, const Document& d) {
  return tokenizer.encode(d.text, !d.rendered);
}

JsonLines::JsonLines(std::string_view text, std::string name, const TokenizerSpec& spec, std::string model)
    : name_(std::move(name)), model_(std::move(model)), spec_(spec) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (!is_blank(line)) lines_.push_back({line, number});
    begin = end + 1;
  }
}

Document JsonLines::document(size_t i, const ChatOptions& options) {
  const Line& line = lines_.at(i);
  const std::string where = name_ + ", line " + std::to_string(line.number);
  const jinja::Value value = jinja::parse_json(line.text, where);
  const jinja::Dict* d = value.dict();
  if (!d)
    fail(ErrorKind::bad_input, "{} is a {}; each line is an object with \"text\" or \"messages\"{}", where,
         type_name(value), value.list() ? " (`jq -c '.[]'` writes the items of a list on lines of their own)" : "");
  if (const jinja::Value* messages = d->find_text("messages")) {
    const jinja::Value* tools = d->find_text("tools");
    try {
      if (!template_) template_ = ChatTemplate::of(spec_, model_);
      return {template_->render(*messages, options, tools && tools->list() ? *tools : jinja::None{}), true};
    } catch (const Error& e) {
      throw Error(e.kind(), where + ": " + e.what());
    }
  }
  const jinja::Value* text = d->find_text("text");
  if (!text) fail(ErrorKind::bad_input, "{} has neither \"text\" nor \"messages\"; it has {}", where, keys_of(*d));
  if (!text->is_text()) fail(ErrorKind::bad_input, "{}: \"text\" is a {}, not a string", where, type_name(*text));
  return {text->text(), false};
}

Windows cut_calibration(const Tokenizer& tokenizer, std::optional<int32_t> bos, std::string_view text,
                        const std::filesystem::path& file, const std::string& model, const CalibrationWindows& wanted) {
  if (wanted.length < 2 || wanted.count < 1)
    fail(ErrorKind::usage, "{} calibration windows of {} token(s) were asked for; at least 1 window of 2 is needed",
         wanted.count, wanted.length);
  const std::string name = file.string();
  require_text(text, name);
  if (is_json_lines(text, file)) {
    JsonLines lines(text, name, tokenizer.spec(), model);
    return documents_in_windows(tokenizer, lines, name, wanted);
  }
  const std::vector<int32_t> ids = tokenizer.encode(text, false);
  try {
    if (wanted.seed == 0) return cut_windows(ids, bos, wanted.length, wanted.count, 0);
    return drawn(cut_windows(ids, bos, wanted.length, 0, 0), wanted);
  } catch (const Error& e) {
    throw Error(e.kind(), name + ": " + e.what());
  }
}

}  // namespace kerf
