// nlohmann's parser and destructor keep stacks of their own; its copying and printing recurse, so depth is bounded
// before anything is built.
#include "core/json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/utf8.h"

namespace kerf {
namespace {

template <class Json>
Json parse(std::string_view text, const std::string& name) {
  check_json_text(text, name);
  try {
    return Json::parse(text);
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
  } else {
    out += v.dump();
  }
}

}  // namespace

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

std::string short_json(const nlohmann::json& v) {
  std::string s;
  show(v, s);
  if (s.size() > kShown) s = s.substr(0, kShown - 3) + "...";
  return s;
}

}  // namespace kerf
