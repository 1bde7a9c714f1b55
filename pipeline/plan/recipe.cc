// Walks the table of options (option.h) with one reader per kind of value; overrides, which no option of the command
// line can say, come last. JSON is YAML, so the report's recipe is read by the same code.
#include "pipeline/plan/recipe.h"

#include <fmt/ranges.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/units.h"
#include "model/text/text_file.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/option.h"
#include "pipeline/plan/site_pattern.h"
#include "prune/request.h"
#include "prune/sparsity.h"
#include "targets/target.h"

namespace kerf {
namespace {

constexpr uint64_t kLongestRecipe = 1 << 20;  // bytes
constexpr uint64_t kLongestReport = 1 << 28;  // bytes of a report that holds one
constexpr int kDeepestReport = 64;

struct Place {
  std::string name;  // of the recipe

  template <class... Args>
  [[noreturn]] void wrong(const YAML::Node& node, fmt::format_string<Args...> format, Args&&... args) const {
    const int line = node.IsDefined() ? node.Mark().line + 1 : 0;
    fail(ErrorKind::usage, "{}, line {}: {}", name, line, fmt::format(format, std::forward<Args>(args)...));
  }
};

std::string_view kind_of(const YAML::Node& n) {
  if (n.IsScalar()) return "a single value";
  if (n.IsSequence()) return "a list";
  return n.IsMap() ? "a map" : "nothing";
}

std::string text_of(const Place& place, const YAML::Node& n, const std::string& key) {
  if (!n.IsScalar()) place.wrong(n, "{} is {}, not a text", key, kind_of(n));
  return n.Scalar();
}

template <class Number>
Number number_of(const Place& place, const YAML::Node& n, const std::string& key, double least, double most) {
  Number value = 0;
  const bool quoted = n.Tag() == "!";
  const bool negative = n.IsScalar() && n.Scalar().starts_with('-');
  if (!n.IsScalar() || quoted || (std::is_unsigned_v<Number> && negative) || !YAML::convert<Number>::decode(n, value))
    place.wrong(n, "{} is {}; it is a whole number of at least {}", key,
                n.IsScalar() ? "'" + n.Scalar() + "'" : std::string(kind_of(n)), least);
  if (static_cast<double>(value) < least) place.wrong(n, "{} is {}; it is at least {}", key, value, least);
  if (static_cast<double>(value) > most) place.wrong(n, "{} is {}; it is at most {}", key, value, most);
  return value;
}

double real_of(const Place& place, const YAML::Node& n, const std::string& key, double least, double most) {
  const std::string text = text_of(place, n, key);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > least && value <= most))
    place.wrong(n, "{} is {}, not a number above {} and up to {}", key, text, least, most);
  return value;
}

bool yes_or_no(const Place& place, const YAML::Node& n, const std::string& key, std::string_view yes,
               std::string_view no) {
  const std::string text = text_of(place, n, key);
  if (text != yes && text != no) place.wrong(n, "{} is '{}'; it is {} or {}", key, text, yes, no);
  return text == yes;
}

// One text, or a list of them.
std::vector<std::string> texts_of(const Place& place, const YAML::Node& n, const std::string& key) {
  if (!n.IsSequence()) return {text_of(place, n, key)};
  std::vector<std::string> texts;
  for (const YAML::Node& each : n) texts.push_back(text_of(place, each, "an entry of " + key));
  if (texts.empty()) place.wrong(n, "{} is an empty list", key);
  return texts;
}

/// The keys of a map, each of which must be known and stand there once.
class Keys {
 public:
  Keys(const Place& place, const YAML::Node& map, const std::string& what, std::vector<std::string_view> known)
      : map_(map) {
    if (!map.IsMap()) place.wrong(map, "{} is {}, not a map of {}", what, kind_of(map), fmt::join(known, ", "));
    std::set<std::string> seen;
    for (const auto& entry : map) {
      const std::string key = text_of(place, entry.first, "a key");
      if (std::find(known.begin(), known.end(), key) == known.end())
        place.wrong(entry.first, "{} has no key '{}'; its keys are {}", what, key, fmt::join(known, ", "));
      if (!seen.insert(key).second) place.wrong(entry.first, "the key '{}' stands twice in {}", key, what);
    }
  }
  /// Calls `read` with the value of the key, if it is there and not null.
  template <class Read>
  void take(const std::string& key, Read read) const {
    if (const YAML::Node value = map_[key]; value.IsDefined() && !value.IsNull()) read(value);
  }

 private:
  const YAML::Node map_;
};

// What another reader says of a text, with the line in front.
template <class Check>
void check_at(const Place& place, const YAML::Node& n, Check check) {
  try {
    check();
  } catch (const Error& e) {
    place.wrong(n, "{}", e.what());
  }
}

// Reads one option's value.
struct ValueReader {
  const Place& place;
  const Option& option;
  const YAML::Node& n;
  std::string key;  // the last part

  void operator()(std::string* x) const {
    *x = text_of(place, n, key);
    if (option.check) check_at(place, n, [&] { option.check(*x); });
  }
  void operator()(std::vector<std::string>* x) const {
    *x = texts_of(place, n, key);
    for (size_t i = 0; option.check && i < x->size(); ++i)
      check_at(place, n.IsSequence() ? n[i] : n, [&] { option.check((*x)[i]); });
  }
  void operator()(std::filesystem::path* x) const { *x = text_of(place, n, key); }
  template <class Number>
  void operator()(Number* x) const {
    *x = number_of<Number>(place, n, key, option.least, option.most);
  }
  void operator()(double* x) const { *x = real_of(place, n, key, option.least, option.most); }
  void operator()(ByteSize x) const {
    const std::string text = text_of(place, n, key);
    try {
      *x.value = parse_bytes(text);
    } catch (const Error& e) {
      place.wrong(n, "{}: {}", key, e.what());
    }
  }
  void operator()(Flag x) const { *x.value = yes_or_no(place, n, key, "true", "false"); }
  void operator()(std::optional<bool>* x) const { *x = yes_or_no(place, n, key, "on", "off"); }
};

// "calib.windows" is the key "windows" of the map "calib"; "method" is a key of the recipe itself, of the map "".
std::pair<std::string_view, std::string_view> map_and_key(const Option& o) {
  const size_t dot = o.key.find('.');
  if (dot == std::string_view::npos) return {"", o.key};
  return {o.key.substr(0, dot), o.key.substr(dot + 1)};
}

class RecipeReader {
 public:
  explicit RecipeReader(std::string name) : place_{std::move(name)} {}

  Recipe read(const YAML::Node& root) const {
    CompressOptions r;
    if (root.IsNull()) return r;
    std::vector<std::string_view> known;  // and in it each map once
    for (const Option& o : all_options()) {
      const auto [map, key] = map_and_key(o);
      const std::string_view top = map.empty() ? key : map;
      if (!top.empty() && std::find(known.begin(), known.end(), top) == known.end()) known.push_back(top);
    }
    known.push_back("overrides");
    const Keys keys(place_, root, "a recipe", known);
    for (const std::string_view top : known) {
      if (members_of(top).empty())
        take(keys, "", top, r);
      else
        keys.take(std::string(top), [&](const YAML::Node& map) {
          const Keys inner(place_, map, std::string(top), members_of(top));
          for (const std::string_view key : members_of(top)) take(inner, top, key, r);
        });
    }
    keys.take("overrides", [&](const YAML::Node& n) {
      if (!n.IsSequence()) place_.wrong(n, "overrides is {}, not a list", kind_of(n));
      for (const YAML::Node& each : n) r.overrides.push_back(site_override(each, r.targets));
    });
    return r;
  }

 private:
  static std::vector<std::string_view> members_of(std::string_view map) {
    std::vector<std::string_view> members;
    for (const Option& o : all_options())
      if (map_and_key(o).first == map) members.push_back(map_and_key(o).second);
    return members;
  }

  void take(const Keys& keys, std::string_view map, std::string_view key, CompressOptions& r) const {
    for (const Option& o : all_options())
      if (!o.key.empty() && map_and_key(o) == std::pair(map, key))
        keys.take(std::string(key), [&](const YAML::Node& n) {
          std::visit(ValueReader{place_, o, n, std::string(key)}, o.field(structs_of(r)));
        });
  }

  SiteOverride site_override(const YAML::Node& map, const std::vector<std::string>& targets) const {
    const Keys keys(place_, map, "an override", {"sites", "scheme", "method", "sparsity"});
    SiteOverride o;
    keys.take("sites", [&](const YAML::Node& n) {
      o.sites = texts_of(place_, n, "sites");
      check_at(place_, n, [&] { const SitePatterns compiled(o.sites); });
    });
    if (o.sites.empty()) place_.wrong(map, "an override needs sites: a pattern, or a list of them");
    keys.take("scheme", [&](const YAML::Node& n) {
      o.scheme = text_of(place_, n, "scheme");
      for (const std::string& target : targets)
        check_at(place_, n, [&] { parse_target(target).target->canonical_of_matrix(o.scheme); });
    });
    keys.take("method", [&](const YAML::Node& n) {
      o.method = text_of(place_, n, "method");
      check_at(place_, n, [&] { parse_method(o.method, true); });
    });
    keys.take("sparsity", [&](const YAML::Node& n) {
      o.sparsity = text_of(place_, n, "sparsity");
      check_at(place_, n, [&] {
        if (o.sparsity != kNoSparsity) parse_sparsity(o.sparsity);
      });
    });
    if (o.scheme.empty() && o.method.empty() && o.sparsity.empty())
      place_.wrong(map, "an override needs a scheme, a method or a sparsity");
    return o;
  }

  Place place_;
};

using Json = nlohmann::ordered_json;

// What a report or a frozen plan holds of a recipe; nothing else of it is kept, nor nested deeply.
Json recipe_parts(const std::string& text, const std::string& name) {
  check_json_text(text, name, kDeepestReport);
  const auto wanted = [](int depth, Json::parse_event_t event, Json& parsed) {
    return depth != 1 || event != Json::parse_event_t::key || parsed == "recipe" || parsed == "kerf" ||
           parsed == "inputs";
  };
  return Json::parse(text, wanted, false);
}

// A file that a report lists.
struct InputEntry {
  std::string name, sha256;
};

std::vector<InputEntry> entries_of(const Json& inputs, std::string_view key) {
  const auto text_at = [](const Json& j, const char* at) {
    return j.is_object() && j.contains(at) && j[at].is_string() ? j[at].get<std::string>() : std::string();
  };
  std::vector<InputEntry> entries;
  for (const Json& input : inputs)
    if (text_at(input, "key") == key) entries.push_back({text_at(input, "name"), text_at(input, "sha256")});
  return entries;
}

// `given`: where it lies was said anew.
void check_input(const std::string& report, const RecipeFile& f, const InputEntry& listed, bool given) {
  const bool standard_input = is_standard_input(f.file);
  if (!standard_input && !std::filesystem::is_regular_file(f.file)) {
    if (given) return;  // whoever reads it says what is wrong
    fail(ErrorKind::io,
         "{} was made with {}{} (SHA-256 {}), and there is no such file in the working directory or beside the report; "
         "say where it is: {}FILE",
         report, f.flag, listed.name, listed.sha256, f.flag);
  }
  if ((standard_input ? sha256_of_text(read_text_file(f.file)) : sha256_of(f.file)) != listed.sha256)
    warn(fmt::format("{} is another file than the {} of {} (SHA-256 {}): files or figures will not be the same",
                     text_name(f.file), listed.name, report, listed.sha256));
}

// nullopt for a text that is no report.
std::optional<std::string> recipe_inside(const std::string& text, const std::string& name) {
  const Json j = recipe_parts(text, name);
  if (!j.is_object() || !j.contains("kerf")) return std::nullopt;
  if (!j.contains("recipe"))
    fail(ErrorKind::usage, "{} is a report of files that were only measured; it holds no recipe", name);
  return j["recipe"].dump();
}

struct IgnoreEvents final : YAML::EventHandler {
  using Mark = YAML::Mark;
  using Anchor = YAML::anchor_t;
  using Style = YAML::EmitterStyle::value;
  void OnDocumentStart(const Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const Mark&, Anchor) override {}
  void OnAlias(const Mark&, Anchor) override {}
  void OnScalar(const Mark&, const std::string&, Anchor, const std::string&) override {}
  void OnSequenceStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnMapEnd() override {}
};

// YAML::LoadAll() finds documents without end in a text such as ",".
bool has_several_documents(const std::string& yaml) {
  std::istringstream in(yaml);
  YAML::Parser parser(in);
  IgnoreEvents ignored;
  return parser.HandleNextDocument(ignored) && parser.HandleNextDocument(ignored);
}

}  // namespace

Recipe parse_recipe(std::string_view yaml, const std::string& name) {
  YAML::Node root;
  try {
    const std::string text(yaml);
    if (has_several_documents(text)) fail(ErrorKind::usage, "{} holds several YAML documents; a recipe is one", name);
    root = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    fail(ErrorKind::bad_input, "{}, line {}: not YAML: {}", name, e.mark.line + 1, e.msg);
  }
  return RecipeReader(name).read(root);
}

Recipe read_recipe(const std::filesystem::path& path) {
  const std::string text = read_text(path, kLongestReport), name = path.string();
  if (text.starts_with('{'))
    if (const auto inside = recipe_inside(text, name)) {
      Recipe r = parse_recipe(*inside, "the recipe in " + name);
      for_files(r, [&](const RecipeFile& f) {
        if (f.file.is_absolute() || std::filesystem::exists(f.file)) return;
        if (const auto beside = path.parent_path() / f.file; std::filesystem::exists(beside)) f.file = beside;
      });
      return r;
    }
  if (text.size() > kLongestRecipe)
    fail(ErrorKind::bad_input, "{} has {} bytes; a recipe has at most {}", name, text.size(), kLongestRecipe);
  return parse_recipe(text, name);
}

void for_files(Recipe& r, const std::function<void(const RecipeFile&)>& f) {
  const auto visit = [&](std::string_view key, std::string_view flag, std::filesystem::path& file) {
    if (!file.empty() && !own_text_tokens(file)) f({key, flag, file});
  };
  visit("calib.text", "--calib ", r.calib.text);
  visit("distill.text", "--distill-text ", r.distill.text);
  visit("eval.text", "--text ", r.eval.text);
  visit("eval.second_text", "--second-text ", r.eval.second_text);
  visit("imatrix", "--imatrix ", r.imatrix);
  for (std::string& part : r.prune)
    if (std::filesystem::path file = vocabulary_text(part); !file.empty()) {
      visit("prune", "--prune vocab=", file);
      part = "vocab=" + file.string();
    }
}

void check_inputs(const std::filesystem::path& path, Recipe& r, const std::set<std::string>& given) {
  const std::string text = read_text(path, kLongestReport);
  const Json parts = text.starts_with('{') ? recipe_parts(text, path.string()) : Json();
  if (!parts.is_object() || !parts.contains("inputs") || !parts["inputs"].is_array()) return;
  std::map<std::string_view, std::vector<InputEntry>> inputs;  // by key, in their order
  std::map<std::string_view, size_t> seen;
  for_files(r, [&](const RecipeFile& f) {
    auto [listed, first] = inputs.try_emplace(f.key);
    if (first) listed->second = entries_of(parts["inputs"], f.key);
    if (const size_t i = seen[f.key]++; i < listed->second.size())
      check_input(path.string(), f, listed->second[i], given.contains(std::string(f.key)));
  });
}

nlohmann::ordered_json to_json(const Recipe& r) {
  CompressOptions all;
  static_cast<Recipe&>(all) = r;
  nlohmann::ordered_json j;
  for (const Option& o : all_options()) {
    if (o.key.empty()) continue;
    const OptionField field = o.field(structs_of(all));
    if (!o.always_written && !is_set(field)) continue;
    const auto [map, key] = map_and_key(o);
    (map.empty() ? j : j[std::string(map)])[std::string(key)] = to_json(field);
  }
  j["overrides"] = nlohmann::ordered_json::array();
  for (const SiteOverride& o : r.overrides) {
    nlohmann::ordered_json each = {{"sites", o.sites}};
    if (!o.scheme.empty()) each["scheme"] = o.scheme;
    if (!o.method.empty()) each["method"] = o.method;
    if (!o.sparsity.empty()) each["sparsity"] = o.sparsity;
    j["overrides"].push_back(std::move(each));
  }
  return j;
}

Recipe recipe_from_json(const nlohmann::ordered_json& j) {
  return parse_recipe(shown_json(j, -1), "the recipe of the report");
}

Recipe overridden(const Recipe& recipe, const Recipe& command_line, const std::set<std::string>& given) {
  CompressOptions to, from;
  static_cast<Recipe&>(to) = recipe;
  static_cast<Recipe&>(from) = command_line;
  for (const std::string& key : given) {
    const auto all = all_options();
    const auto at = std::find_if(all.begin(), all.end(), [&](const Option& o) { return o.key == key; });
    if (key.empty() || at == all.end()) fail(ErrorKind::internal, "a recipe has no key '{}'", key);
    const OptionField before = at->field(structs_of(to)), now = at->field(structs_of(from));
    if (const auto* list = std::get_if<std::vector<std::string>*>(&before))
      if (!(*list)->empty() && **list != **std::get_if<std::vector<std::string>*>(&now))
        note(fmt::format("{} goes before all that the recipe has of it: {}", at->flag, fmt::join(**list, ",")));
    copy(before, now);
  }
  return to;
}

bool concerns(const SiteOverride& o, std::string_view tensor, std::string_view role) {
  return SitePatterns(o.sites).fit(tensor, role);
}

}  // namespace kerf
