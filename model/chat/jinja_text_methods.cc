// The methods of str that templates call.
#include <algorithm>
#include <span>

#include "model/chat/jinja_builtins.h"
#include "model/chat/jinja_text.h"

namespace kerf::jinja {
namespace {

using Method = Value (*)(Run&, const Value& self, const Arguments&);

std::optional<std::string_view> optional_text(const Bound& bound, size_t i) {
  if (!bound.is_given(i)) return std::nullopt;
  return bound.text(i);
}

template <Ends ends>
Value stripped(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "strip", given, {"chars"});
  return make_text(run, std::string(strip(self.text(), optional_text(bound, 0), ends)));
}

Items texts(Run& run, const std::vector<std::string_view>& parts) {
  Items items;
  for (const auto part : parts) items.push_back(make_text(run, std::string(part)));
  return items;
}

template <bool from_right>
Value parts(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "split", given, {"sep", "maxsplit"});
  const auto separator = optional_text(bound, 0);
  if (separator && separator->empty()) run.wrong("split at an empty separator");
  return make_list(run, texts(run, split(self.text(), separator, bound.integer(1, -1), from_right)));
}

Value lines(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "splitlines", given, {"keepends"});
  return make_list(run, texts(run, split_lines(self.text(), bound.truth_of(0, false))));
}

template <bool at_end>
Value has_affix(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, at_end ? "endswith" : "startswith", given, {"affix", "start", "end"}, 1);
  if (bound[1] || bound[2]) run.unsupported("'startswith' and 'endswith' within bounds");
  const auto fits = [&](const Value& affix) {
    if (!affix.is_text()) run.wrong("startswith or endswith of a {}", type_name(affix));
    return at_end ? self.text().ends_with(affix.text()) : self.text().starts_with(affix.text());
  };
  const List* several = bound[0]->list();
  if (!several || several->kind != List::Kind::tuple) return fits(*bound[0]);
  return std::any_of(several->items.begin(), several->items.end(), fits);
}

template <bool at_end>
Value without_affix(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, at_end ? "removesuffix" : "removeprefix", given, {"affix"}, 1);
  const std::string &s = self.text(), &affix = bound.text(0);
  if (at_end ? !s.ends_with(affix) : !s.starts_with(affix)) return self;
  return make_text(run, at_end ? s.substr(0, s.size() - affix.size()) : s.substr(affix.size()));
}

template <Case wanted>
Value cased(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "upper, lower, title or capitalize", given, {});
  auto text = change_case(self.text(), wanted);
  if (!text) run.unsupported("the case of a letter that changes into several, or by its place in the word");
  return make_text(run, std::move(*text));
}

Value replaced(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "replace", given, {"old", "new", "count"}, 2);
  if (self.safe()) run.unsupported("'replace' of a text marked as safe");
  const std::string &s = self.text(), &old = bound.text(0), &with = bound.text(1);
  run.step(s.size() / 64);
  const auto found = static_cast<uint64_t>(count(s, old));
  run.step(found / 4);
  run.spend(s.size() + found * with.size());
  return Value(replace(s, old, with, bound.integer(2, -1)));
}

// The first or last place of a part in characters, and an error or -1 where there is none.
template <bool from_right, bool must>
Value place_of(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, must ? "index" : "find", given, {"part", "start", "end"}, 1);
  if (bound[1] || bound[2]) run.unsupported("'find' and 'index' within bounds");
  const std::string& s = self.text();
  run.step(s.size() / 64);
  const size_t at = from_right ? s.rfind(bound.text(0)) : s.find(bound.text(0));
  if (at != std::string::npos) return count_characters(std::string_view(s).substr(0, at));
  if (must) run.wrong("{} is not in the text", quoted(bound.text(0)));
  return int64_t{-1};
}

Value counted(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "count", given, {"part", "start", "end"}, 1);
  if (bound[1] || bound[2]) run.unsupported("'count' within bounds");
  run.step(self.text().size() / 64);
  return count(self.text(), bound.text(0));
}

Value joined(Run& run, const Value& self, const Arguments& given) {
  const Bound bound(run, "join", given, {"iterable"}, 1);
  std::string text;
  bool first = true;
  for (const Value& v : items_of(run, *bound[0])) {
    if (!v.is_text()) run.wrong("'join' of a {}: only str can be joined", type_name(v));
    if (self.safe() || v.safe()) run.unsupported("'join' with a text marked as safe");
    run.spend(self.text().size() + v.text().size());
    if (!std::exchange(first, false)) text += self.text();
    text += v.text();
  }
  return Value(std::move(text));
}

// True when there is a character, and all are of the kind; what is not ASCII would need Python's tables.
template <class Is>
Value all_are(Run& run, const Value& self, const Arguments& given, std::string_view name, Is is) {
  const Bound bound(run, name, given, {});
  const std::string& s = self.text();
  if (std::any_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
    run.unsupported("'{}' of characters outside of ASCII", name);
  return !s.empty() && std::all_of(s.begin(), s.end(), is);
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_letter(char c) { return is_lower(c) || is_upper(c); }

template <bool upper>
Value in_case(Run& run, const Value& self, const Arguments& given) {
  const Value no_other = all_are(run, self, given, upper ? "isupper" : "islower",
                                 [](char c) { return upper ? !is_lower(c) : !is_upper(c); });
  return truth(no_other) && std::any_of(self.text().begin(), self.text().end(), is_letter);
}

struct Entry {
  std::string_view name;
  Method method;
};

constexpr Entry kMethods[] = {
    {"strip", stripped<Ends::both>},
    {"lstrip", stripped<Ends::left>},
    {"rstrip", stripped<Ends::right>},
    {"split", parts<false>},
    {"rsplit", parts<true>},
    {"splitlines", lines},
    {"startswith", has_affix<false>},
    {"endswith", has_affix<true>},
    {"removeprefix", without_affix<false>},
    {"removesuffix", without_affix<true>},
    {"upper", cased<Case::upper>},
    {"lower", cased<Case::lower>},
    {"title", cased<Case::title>},
    {"capitalize", cased<Case::capitalize>},
    {"replace", replaced},
    {"find", place_of<false, false>},
    {"rfind", place_of<true, false>},
    {"index", place_of<false, true>},
    {"rindex", place_of<true, true>},
    {"count", counted},
    {"join", joined},
    {"isdigit", [](Run& r, const Value& v, const Arguments& a) { return all_are(r, v, a, "isdigit", is_digit); }},
    {"isalpha", [](Run& r, const Value& v, const Arguments& a) { return all_are(r, v, a, "isalpha", is_letter); }},
    {"isalnum",
     [](Run& r, const Value& v, const Arguments& a) {
       return all_are(r, v, a, "isalnum", [](char c) { return is_letter(c) || is_digit(c); });
     }},
    {"isspace",
     [](Run& r, const Value& v, const Arguments& a) {
       return all_are(r, v, a, "isspace", [](char c) { return is_space(static_cast<unsigned char>(c)); });
     }},
    {"isupper", in_case<true>},
    {"islower", in_case<false>},
};

constexpr std::string_view kLacking[] = {"casefold",    "center",     "encode",    "expandtabs",   "format",
                                         "format_map",  "isascii",    "isdecimal", "isidentifier", "isnumeric",
                                         "isprintable", "istitle",    "ljust",     "maketrans",    "partition",
                                         "rjust",       "rpartition", "swapcase",  "translate",    "zfill"};

}  // namespace

bool has_text_method(std::string_view name) {
  return std::any_of(std::begin(kMethods), std::end(kMethods), [&](const Entry& e) { return e.name == name; }) ||
         std::find(std::begin(kLacking), std::end(kLacking), name) != std::end(kLacking);
}

Value call_text_method(Run& run, const Value& self, const std::string& name, const Arguments& given) {
  for (const Entry& e : kMethods)
    if (e.name == name) return e.method(run, self, given);
  run.unsupported("the method '{}' of str", name);
}

}  // namespace kerf::jinja
