// The filters of one value. Those of lists stand in jinja_list_filters.cc.
#include "model/chat/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "model/chat/jinja_json.h"
#include "model/chat/jinja_text.h"

namespace kerf::jinja {
namespace {

// Filters of text take anything and print it first.
std::string as_text(Interpreter& i, const Value& v) {
  if (v.is_text()) i.run().spend(v.text().size());
  return to_text(i.run(), v);
}

// A method of str as a filter.
Value text_method(Interpreter& i, const Value& v, const char* name, const Arguments& given) {
  return call_text_method(i.run(), v.is_text() ? v : Value(as_text(i, v)), name, given);
}
Value trim(Interpreter& i, const Value& v, const Arguments& given) { return text_method(i, v, "strip", given); }
Value upper(Interpreter& i, const Value& v, const Arguments& given) { return text_method(i, v, "upper", given); }
Value lower(Interpreter& i, const Value& v, const Arguments& given) { return text_method(i, v, "lower", given); }
Value capitalize(Interpreter& i, const Value& v, const Arguments& given) {
  return text_method(i, v, "capitalize", given);
}

// Words begin behind white space and - ( { [ <; str.title would begin one behind any character that is no letter.
Value title(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "title", given, {});
  const std::string text = as_text(i, v);
  std::string out;
  const auto ends_word = [](char c) { return std::string_view("-({[<").find(c) != std::string_view::npos; };
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !ends_word(text[end]) &&
           strip(std::string_view(text).substr(end, 1), {}, Ends::both).size())
      ++end;
    if (end == begin) ++end;
    const auto word = change_case(std::string_view(text).substr(begin, end - begin), Case::capitalize);
    if (!word) i.run().unsupported("the case of a letter that changes into several");
    out += *word;
    begin = end;
  }
  return make_text(i.run(), std::move(out));
}

Value replace(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "replace", given, {"old", "new", "count"}, 2);
  Arguments texts{{Value(as_text(i, *bound[0])), Value(as_text(i, *bound[1]))}, {}};
  if (bound.is_given(2)) texts.positional.push_back(*bound[2]);
  return text_method(i, v, "replace", texts);
}

Value string(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "string", given, {});
  return v.is_text() ? v : Value(as_text(i, v));
}

Value safe(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "safe", given, {});
  return Text{std::make_shared<const std::string>(as_text(i, v)), true};
}

Value escape(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "escape", given, {});
  if (v.safe()) return v;
  std::string out;
  for (const char c : as_text(i, v)) {
    static constexpr std::string_view kSpecial = "&<>'\"";
    static constexpr std::string_view kNames[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const size_t k = kSpecial.find(c);
    if (k == std::string_view::npos)
      out += c;
    else
      out += kNames[k];
  }
  i.run().spend(out.size());
  return Text{std::make_shared<const std::string>(std::move(out)), true};
}

Value indent(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "indent", given, {"width", "first", "blank"});
  if (!v.is_text()) run.wrong("'indent' of a {}", type_name(v));
  if (v.safe()) run.unsupported("'indent' of a text marked as safe");
  run.spend(v.text().size());
  const int64_t width = bound[0] && bound[0]->is_text() ? 0 : std::max<int64_t>(bound.integer(0, 4), 0);
  run.spend(static_cast<uint64_t>(width));
  const std::string space =
      bound[0] && bound[0]->is_text() ? bound[0]->text() : std::string(static_cast<size_t>(width), ' ');
  const bool blank = bound.truth_of(2, false);
  const std::string all = v.text() + "\n";
  const auto lines = split_lines(all, false);
  std::string out = bound.truth_of(1, false) ? space : "";
  for (size_t l = 0; l < lines.size(); ++l) {
    run.spend(lines[l].size() + space.size() + 1);
    if (l > 0) {
      out += '\n';
      if (blank || !lines[l].empty()) out += space;
    }
    out += lines[l];
  }
  return Value(std::move(out));
}

Value tojson(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "tojson", given, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ascii = bound.truth_of(0, false), .sort_keys = bound.truth_of(3, false)};
  if (bound.is_given(1)) {
    if (bound[1]->is_text()) {
      style.indent = bound[1]->text();
    } else {
      const int64_t width = std::max<int64_t>(bound.integer(1, 0), 0);
      run.spend(static_cast<uint64_t>(width));
      style.indent = std::string(static_cast<size_t>(width), ' ');
    }
    style.item = ",";
  }
  if (bound.is_given(2)) {
    const Items both = items_of(run, *bound[2]);
    if (both.size() != 2 || !both[0].is_text() || !both[1].is_text())
      run.wrong("the separators of tojson are no pair of str");
    style.item = both[0].text();
    style.key = both[1].text();
  }
  return Value(dump_json(run, v, style));
}

Value default_value(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "default", given, {"default_value", "boolean"});
  if (!v.is_undefined() && (truth(v) || !bound.truth_of(1, false))) return v;
  return bound[0] ? *bound[0] : Value("");
}

// float(text): white space around it goes; nullopt where Python finds no number.
std::optional<double> parse_float(std::string_view s) {
  s = strip(s, std::nullopt, Ends::both);
  if (s.starts_with('+')) s.remove_prefix(1);
  double d = 0;
  const auto end = std::from_chars(s.data(), s.data() + s.size(), d);
  if (s.empty() || s[0] == '+' || end.ptr != s.data() + s.size() || end.ec == std::errc::invalid_argument)
    return std::nullopt;
  return end.ec == std::errc() ? d : std::strtod(std::string(s).c_str(), nullptr);
}

Value to_float(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "float", given, {"default"});
  if (const auto d = v.number()) return *d;
  if (v.is_text())
    if (const auto d = parse_float(v.text())) return *d;
  return bound[0] ? *bound[0] : Value(0.0);
}

Value to_int(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "int", given, {"default", "base"});
  if (bound.integer(1, 10) != 10) run.unsupported("the filter 'int' with another base than 10");
  if (const auto n = v.integer()) return *n;
  std::optional<double> d = v.number();
  if (v.is_text()) {
    std::string_view s = strip(v.text(), std::nullopt, Ends::both);
    if (s.starts_with('+') && !s.starts_with("+-")) s.remove_prefix(1);
    int64_t n = 0;
    const auto end = std::from_chars(s.data(), s.data() + s.size(), n);
    if (end.ptr == s.data() + s.size() && end.ec == std::errc::result_out_of_range)
      run.unsupported("an integer past 64 bits");
    if (end.ptr == s.data() + s.size() && end.ec == std::errc() && !s.empty()) return n;
    d = parse_float(s);
  }
  if (!d || !std::isfinite(*d)) return bound[0] ? *bound[0] : Value(int64_t{0});
  const double limit = 9223372036854775808.0;  // 2^63
  if (std::abs(*d) >= limit) run.unsupported("an integer past 64 bits");
  return static_cast<int64_t>(*d);
}

Value absolute(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "abs", given, {});
  if (!v.number()) i.run().wrong("'abs' of a {}", type_name(v));
  const bool below = *v.number() < 0;
  return v.integer() ? (below ? negated(i.run(), v) : Value(*v.integer())) : Value(std::abs(*v.number()));
}

Value round(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "round", given, {"precision", "method"});
  const int64_t digits = bound.integer(0, 0);
  const std::string method = bound[1] ? bound.text(1) : "common";
  if (!v.number()) run.wrong("'round' of a {}", type_name(v));
  // A float has 17 digits that mean something.
  if (digits < 0 || digits > 17) run.unsupported("'round' to {} digits", digits);
  if (method == "common") {
    if (v.integer()) return *v.integer();
    // Exact halves go to the even digit, all else to the nearer one: as printing rounds.
    return std::isfinite(*v.number()) ? *parse_float(fmt::format("{:.{}f}", *v.number(), digits)) : *v.number();
  }
  if (method != "ceil" && method != "floor") run.wrong("'round' by the method {}", quoted(method));
  const double scale = std::pow(10.0, static_cast<double>(digits)), scaled = *v.number() * scale;
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

constexpr FilterEntry kFilters[] = {
    {"trim", trim},     {"upper", upper},   {"lower", lower},           {"capitalize", capitalize}, {"title", title},
    {"string", string}, {"safe", safe},     {"replace", replace},       {"escape", escape},         {"e", escape},
    {"indent", indent}, {"tojson", tojson}, {"default", default_value}, {"d", default_value},       {"float", to_float},
    {"int", to_int},    {"abs", absolute},  {"round", round},
};

constexpr std::string_view kLacking[] = {
    "attr",  "batch",     "center",   "filesizeformat", "forceescape", "format",    "groupby",  "pprint", "random",
    "slice", "striptags", "truncate", "urlencode",      "urlize",      "wordcount", "wordwrap", "xmlattr"};

}  // namespace

Value call_filter(Interpreter& i, const std::string& name, const Value& subject, const Arguments& given) {
  for (const auto filters : {std::span<const FilterEntry>(kFilters), list_filters()})
    for (const FilterEntry& e : filters)
      if (e.name == name) return e.filter(i, subject, given);
  if (std::find(std::begin(kLacking), std::end(kLacking), name) != std::end(kLacking))
    i.run().unsupported("the filter '{}'", name);
  i.run().wrong("there is no filter '{}'", name);
}

}  // namespace kerf::jinja
