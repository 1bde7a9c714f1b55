// nlohmann's parser and destructor keep stacks of their own; its copying and printing recurse, so depth is bounded
// before anything is built.
#include "core/json.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/stand_in.h"
#include "core/utf8.h"

namespace kerf {
namespace {

// Python's names for numbers that JSON has none for.
constexpr std::string_view kNanWord = "NaN", kInfinity = "Infinity", kMinusInfinity = "-Infinity";
// Before a name that stands for a number in a string while a text passes through the parser or the printer.
constexpr std::string_view kMark = "\x7F kerf ";

// f(where, name) for each of these names outside of strings, in order. A part of a longer word is left to the parser.
template <class F>
void for_named_numbers(std::string_view text, F&& f) {
  bool in_string = false;
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') ++i;
    if (in_string || (c != 'N' && c != 'I' && c != '-') || (i > 0 && is_word(text[i - 1]))) continue;
    for (const std::string_view name : {kNanWord, kInfinity, kMinusInfinity}) {
      if (!text.substr(i).starts_with(name) || (i + name.size() < text.size() && is_word(text[i + name.size()])))
        continue;
      const size_t behind = text.find_first_not_of(" \t\r\n", i + name.size());
      if (behind == text.npos || text[behind] != ':') f(i, name);  // a key is in quotes
      i += name.size() - 1;
      break;
    }
  }
}

// Strings that stand for numbers become those.
template <class Json>
void restore_named_numbers(Json& v) {
  if (v.is_structured()) {
    for (Json& each : v) restore_named_numbers(each);
    return;
  }
  if (!v.is_string()) return;
  const std::string_view s = v.template get_ref<const std::string&>();
  if (!s.starts_with(kMark)) return;
  const std::string_view name = s.substr(kMark.size());
  if (name == kNanWord)
    v = std::numeric_limits<double>::quiet_NaN();
  else if (name == kInfinity)
    v = std::numeric_limits<double>::infinity();
  else if (name == kMinusInfinity)
    v = -std::numeric_limits<double>::infinity();
}

template <class Json>
Json parse_named_numbers(std::string_view text) {
  if (text.find(kNanWord) == text.npos && text.find(kInfinity) == text.npos) return Json::parse(text);
  std::string marked;
  size_t done = 0;
  for_named_numbers(text, [&](size_t at, std::string_view name) {
    marked += text.substr(done, at - done);
    marked += fmt::format("\"{}{}\"", kMark, name);
    done = at + name.size();
  });
  if (marked.empty()) return Json::parse(text);
  marked += text.substr(done);
  Json v = Json::parse(marked);
  restore_named_numbers(v);
  return v;
}

std::string_view name_of_number(double x) { return std::isnan(x) ? kNanWord : x > 0 ? kInfinity : kMinusInfinity; }
bool is_named_number(const auto& v) { return v.is_number_float() && !std::isfinite(v.template get<double>()); }

template <class Json>
Json parse(std::string_view text, const std::string& name) {
  check_is_no_other_file(text, name);
  check_json_text(text, name);
  try {
    return parse_named_numbers<Json>(text);
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: what is wrong"
    std::string_view why = e.what();
    if (const size_t end = why.find("] "); end != std::string_view::npos) why.remove_prefix(end + 2);
    fail(ErrorKind::bad_input, "{}: not valid JSON: {}", name, why.substr(0, 200));
  }
}

constexpr size_t kShown = 60;

// Appends until `out` is longer than what is shown: that bounds time and, as every level adds a character, depth.
void show(const nlohmann::json& v, std::string& out) {
  if (out.size() > kShown) return;
  if (v.is_structured()) {
    const bool object = v.is_object();
    out += object ? '{' : '[';
    bool first = true;
    for (auto at = v.begin(); at != v.end() && out.size() <= kShown; ++at) {
      if (!first) out += ',';
      first = false;
      if (object) {
        show(nlohmann::json(at.key().substr(0, 2 * kShown)), out);
        out += ':';
      }
      show(*at, out);
    }
    out += object ? '}' : ']';
  } else if (v.is_string()) {
    const auto& s = v.get_ref<const std::string&>();
    out += nlohmann::json(s.substr(0, 2 * kShown)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  } else if (is_named_number(v)) {
    out += name_of_number(v.get<double>());
  } else {
    out += v.dump();
  }
}

bool mark_named_numbers(nlohmann::ordered_json& v) {
  if (is_named_number(v)) {
    v = fmt::format("{}{}", kMark, name_of_number(v.get<double>()));
    return true;
  }
  bool any = false;
  if (v.is_structured())
    for (auto& each : v) any |= mark_named_numbers(each);
  return any;
}

// Of text that is known to be JSON: where the value that begins at `at` ends.
size_t end_of_json_value(std::string_view text, size_t at) {
  if (text[at] != '"' && text[at] != '{' && text[at] != '[')
    return std::min(text.find_first_of(",]} \t\r\n", at), text.size());
  int open = 0;
  do {
    if (text[at] == '"') {
      while (text[++at] != '"')
        if (text[at] == '\\') ++at;
    }
    open += (text[at] == '{' || text[at] == '[') - (text[at] == '}' || text[at] == ']');
    ++at;
  } while (open > 0);
  return at;
}

}  // namespace

void check_is_no_other_file(std::string_view text, std::string_view name) {
  // What a value can begin with; what is wrong behind that is for the parser to say.
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos || std::string_view("{[\"-0123456789tfnNI").find(text[first]) != std::string_view::npos)
    return;
  refuse_stand_in(name, "no JSON", text);
}

void check_json_text(std::string_view text, std::string_view name, int depth) {
  if (const auto bad = first_invalid_utf8(text))
    fail(ErrorKind::bad_input, "{} is not valid UTF-8 at byte {}; JSON must be", name, *bad);
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail(ErrorKind::bad_input, "{} has a zero byte at {}; JSON may not", name, zero);
  int open = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++open > depth)
        fail(ErrorKind::bad_input, "{} nests deeper than {} levels of objects and lists, at byte {}", name, depth, i);
    } else if (c == '}' || c == ']') {
      --open;
    }
  }
}

nlohmann::json parse_json(std::string_view text, const std::string& name) { return parse<nlohmann::json>(text, name); }
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& name) {
  return parse<nlohmann::ordered_json>(text, name);
}

nlohmann::ordered_json parse_json_or_discard(std::string_view text) {
  try {
    return parse_ordered_json(text, "");
  } catch (const Error&) {
    return nlohmann::ordered_json(nlohmann::ordered_json::value_t::discarded);
  }
}

nlohmann::json read_json_object(const std::filesystem::path& path, uint64_t most_bytes) {
  nlohmann::json j = parse_json(read_text(path, most_bytes), path.string());
  if (!j.is_object()) fail(ErrorKind::bad_input, "{} is not a JSON object, but {}", path.string(), short_json(j));
  return j;
}

std::string shown_json(const nlohmann::ordered_json& v, int indent) {
  return v.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& v) {
  nlohmann::ordered_json marked = v;
  if (!mark_named_numbers(marked)) return shown_json(v);
  std::string text = shown_json(marked);
  for (const std::string_view name : {kNanWord, kInfinity, kMinusInfinity}) {
    const std::string stand_in = nlohmann::json(fmt::format("{}{}", kMark, name)).dump();
    for (size_t at = 0; (at = text.find(stand_in, at)) != text.npos; at += name.size())
      text.replace(at, stand_in.size(), name);
  }
  return text;
}

std::optional<JsonSpan> find_json_value(std::string_view text, std::initializer_list<std::string_view> path) {
  const auto skip_space = [&](size_t at) { return std::min(text.find_first_not_of(" \t\r\n", at), text.size()); };
  JsonSpan value = {skip_space(0), text.size()};
  for (const std::string_view key : path) {
    if (value.begin == text.size() || text[value.begin] != '{') return std::nullopt;
    std::optional<JsonSpan> found;
    for (size_t at = skip_space(value.begin + 1); text[at] == '"';) {
      const size_t end_of_name = end_of_json_value(text, at);
      const std::string_view name = text.substr(at + 1, end_of_name - at - 2);
      const size_t begin = skip_space(skip_space(end_of_name) + 1);  // behind the colon
      const size_t end = end_of_json_value(text, begin);
      if (name == key) found = {begin, end};
      at = skip_space(end);
      if (text[at] == ',') at = skip_space(at + 1);
    }
    if (!found) return std::nullopt;
    value = *found;
  }
  return value;
}

std::string short_json(const nlohmann::json& v) {
  std::string s;
  show(v, s);
  if (s.size() > kShown) s = s.substr(0, kShown - 3) + "...";
  return s;
}

}  // namespace kerf
