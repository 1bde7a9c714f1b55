#include "prune/template_texts.h"

namespace kerf {
namespace {

char unescaped(char c) { return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c; }

// Reads the literals of a tag from `at` on; where the tag ends.
size_t read_tag(std::string_view jinja, size_t at, char closing, std::vector<std::string>& texts) {
  while (at < jinja.size() && !(jinja[at] == closing && jinja.substr(at + 1).starts_with('}'))) {
    const char quote = jinja[at++];
    if (quote != '"' && quote != '\'') continue;
    std::string& literal = texts.emplace_back();
    for (; at < jinja.size() && jinja[at] != quote; ++at) {
      const bool escape = jinja[at] == '\\' && at + 1 < jinja.size();
      if (escape) ++at;
      literal += escape ? unescaped(jinja[at]) : jinja[at];
    }
    ++at;
  }
  return at + 2;
}

}  // namespace

std::vector<std::string> template_texts(std::string_view jinja) {
  std::vector<std::string> texts;
  for (size_t at = 0; at < jinja.size();) {
    size_t tag = at;
    while ((tag = jinja.find('{', tag)) != jinja.npos && !jinja.substr(tag + 1).starts_with('{') &&
           !jinja.substr(tag + 1).starts_with('%') && !jinja.substr(tag + 1).starts_with('#'))
      ++tag;
    if (tag != at) texts.emplace_back(jinja.substr(at, tag == jinja.npos ? tag : tag - at));
    if (tag == jinja.npos) break;
    if (jinja[tag + 1] == '#') {
      const size_t end = jinja.find("#}", tag);
      at = end == jinja.npos ? jinja.size() : end + 2;
    } else {
      at = read_tag(jinja, tag + 2, jinja[tag + 1] == '{' ? '}' : '%', texts);
    }
  }
  return texts;
}

}  // namespace kerf
