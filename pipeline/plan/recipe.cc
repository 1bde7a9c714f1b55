// One reader per kind of value; each key is taken out of its map by name, and what is left over is unknown. JSON is
// YAML, so the report's recipe is read by the same code.
#include "pipeline/plan/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/plan/method.h"
#include "targets/target.h"
#include "verify/gate.h"

namespace kerf {
namespace {

constexpr uint64_t kLongestRecipe = 1 << 20;  // bytes
constexpr size_t kLongestPattern = 1000;      // std::regex takes stack for each character

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
Number number_of(const Place& place, const YAML::Node& n, const std::string& key, Number least) {
  Number value = 0;
  const bool quoted = n.Tag() == "!";
  const bool negative = n.IsScalar() && n.Scalar().starts_with('-');
  if (!n.IsScalar() || quoted || (std::is_unsigned_v<Number> && negative) || !YAML::convert<Number>::decode(n, value))
    place.wrong(n, "{} is {}; it is a whole number of at least {}", key,
                n.IsScalar() ? "'" + n.Scalar() + "'" : std::string(kind_of(n)), least);
  if (value < least) place.wrong(n, "{} is {}; it is at least {}", key, value, least);
  return value;
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
  void take(const char* key, Read read) const {
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

class Reader {
 public:
  Reader(std::string name, std::span<const std::string> methods)
      : place_{std::move(name)}, methods_(methods.begin(), methods.end()) {
    if (methods_.empty()) methods_ = method_names();
  }

  Recipe read(const YAML::Node& root) const {
    Recipe r;
    if (root.IsNull()) return r;
    const Keys keys(place_, root, "a recipe",
                    {"targets", "method", "gptq", "asymmetric", "calib", "imatrix", "eval", "gate", "strict",
                     "shard_size", "overrides"});
    keys.take("targets", [&](const YAML::Node& n) {
      r.targets = texts_of(place_, n, "targets");
      for (size_t i = 0; i < r.targets.size(); ++i)
        check_at(place_, n.IsSequence() ? n[i] : n, [&] { parse_target(r.targets[i]); });
    });
    keys.take("method", [&](const YAML::Node& n) { r.method = method(n); });
    keys.take("gptq", [&](const YAML::Node& n) { gptq(n, r.quantizer); });
    keys.take("asymmetric", [&](const YAML::Node& n) {
      const std::string text = text_of(place_, n, "asymmetric");
      if (text != "on" && text != "off") place_.wrong(n, "asymmetric is '{}'; it is on or off", text);
      r.asymmetric = text == "on";
    });
    keys.take("calib", [&](const YAML::Node& n) { calib(n, r.calib); });
    keys.take("imatrix", [&](const YAML::Node& n) { r.imatrix = text_of(place_, n, "imatrix"); });
    keys.take("eval", [&](const YAML::Node& n) { eval(n, r.eval); });
    keys.take("gate", [&](const YAML::Node& n) {
      r.gate = text_of(place_, n, "gate");
      check_at(place_, n, [&] { parse_gate(r.gate); });
    });
    keys.take("strict", [&](const YAML::Node& n) {
      const std::string text = text_of(place_, n, "strict");
      if (text != "true" && text != "false") place_.wrong(n, "strict is '{}'; it is true or false", text);
      r.strict = text == "true";
    });
    keys.take("shard_size",
              [&](const YAML::Node& n) { r.shard_bytes = number_of<uint64_t>(place_, n, "shard_size", 1); });
    keys.take("overrides", [&](const YAML::Node& n) {
      if (!n.IsSequence()) place_.wrong(n, "overrides is {}, not a list", kind_of(n));
      for (const YAML::Node& each : n) r.overrides.push_back(site_override(each, r.targets));
    });
    return r;
  }

 private:
  std::string method(const YAML::Node& n) const {
    const std::string name = text_of(place_, n, "method");
    if (std::find(methods_.begin(), methods_.end(), name) == methods_.end())
      place_.wrong(n, "there is no method '{}'; the methods are {}", name, fmt::join(methods_, ", "));
    return name;
  }

  void gptq(const YAML::Node& map, QuantizerOptions& q) const {
    const Keys keys(place_, map, "gptq", {"damping", "refine"});
    keys.take("damping", [&](const YAML::Node& n) {
      const std::string text = text_of(place_, n, "damping");
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), q.damping);
      if (error != std::errc() || end != text.data() + text.size() || !(q.damping > 0 && q.damping <= 1))
        place_.wrong(n, "damping is {}, not a number above 0 and up to 1", text);
    });
    keys.take("refine", [&](const YAML::Node& n) {
      q.refine = number_of<int>(place_, n, "refine", 0);
      if (q.refine > kMostRefines) place_.wrong(n, "refine is {}; it is at most {}", q.refine, kMostRefines);
    });
  }

  void calib(const YAML::Node& map, CalibrationOptions& c) const {
    const Keys keys(place_, map, "calib", {"text", "windows", "ctx", "seed"});
    keys.take("text", [&](const YAML::Node& n) { c.text = text_of(place_, n, "text"); });
    keys.take("windows", [&](const YAML::Node& n) { c.windows = number_of<int64_t>(place_, n, "windows", 1); });
    keys.take("ctx", [&](const YAML::Node& n) { c.ctx = number_of<int64_t>(place_, n, "ctx", 2); });
    keys.take("seed", [&](const YAML::Node& n) { c.seed = number_of<uint64_t>(place_, n, "seed", 0); });
  }

  void eval(const YAML::Node& map, EvalOptions& e) const {
    const Keys keys(place_, map, "eval", {"text", "windows", "ctx", "skip_tokens"});
    keys.take("text", [&](const YAML::Node& n) { e.text = text_of(place_, n, "text"); });
    keys.take("windows", [&](const YAML::Node& n) { e.windows = number_of<int64_t>(place_, n, "windows", 0); });
    keys.take("ctx", [&](const YAML::Node& n) { e.ctx = number_of<int64_t>(place_, n, "ctx", 2); });
    keys.take("skip_tokens",
              [&](const YAML::Node& n) { e.skip_tokens = number_of<int64_t>(place_, n, "skip_tokens", 0); });
  }

  SiteOverride site_override(const YAML::Node& map, const std::vector<std::string>& targets) const {
    const Keys keys(place_, map, "an override", {"sites", "scheme", "method"});
    SiteOverride o;
    keys.take("sites", [&](const YAML::Node& n) {
      o.sites = texts_of(place_, n, "sites");
      for (const std::string& pattern : o.sites)
        if (pattern.size() > kLongestPattern)
          place_.wrong(n, "a pattern has {} characters; {} are the most", pattern.size(), kLongestPattern);
        else if (pattern.starts_with("re:"))
          try {
            const std::regex compiled(pattern.substr(3));
          } catch (const std::regex_error& e) {
            place_.wrong(n, "'{}' is no regular expression: {}", pattern.substr(3), e.what());
          }
    });
    if (o.sites.empty()) place_.wrong(map, "an override needs sites: a pattern, or a list of them");
    keys.take("scheme", [&](const YAML::Node& n) {
      o.scheme = text_of(place_, n, "scheme");
      for (const std::string& target : targets)
        check_at(place_, n, [&] { parse_target(target).target->canonical_of_matrix(o.scheme); });
    });
    keys.take("method", [&](const YAML::Node& n) { o.method = method(n); });
    if (o.scheme.empty() && o.method.empty()) place_.wrong(map, "an override needs a scheme or a method");
    return o;
  }

  Place place_;
  std::vector<std::string> methods_;
};

// * and ? of a glob; the place behind the last star is tried again one character later when the rest does not fit.
bool glob_fits(std::string_view glob, std::string_view name) {
  size_t g = 0, n = 0, star = std::string_view::npos, behind = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      behind = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++behind;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

// What the command line can say in place of a recipe.
struct Field {
  std::string_view key;
  void (*copy)(Recipe& to, const Recipe& from);
};
constexpr Field kFields[] = {
    {"targets", [](Recipe& r, const Recipe& c) { r.targets = c.targets; }},
    {"method", [](Recipe& r, const Recipe& c) { r.method = c.method; }},
    {"gptq.damping", [](Recipe& r, const Recipe& c) { r.quantizer.damping = c.quantizer.damping; }},
    {"gptq.refine", [](Recipe& r, const Recipe& c) { r.quantizer.refine = c.quantizer.refine; }},
    {"asymmetric", [](Recipe& r, const Recipe& c) { r.asymmetric = c.asymmetric; }},
    {"calib.text", [](Recipe& r, const Recipe& c) { r.calib.text = c.calib.text; }},
    {"calib.windows", [](Recipe& r, const Recipe& c) { r.calib.windows = c.calib.windows; }},
    {"calib.ctx", [](Recipe& r, const Recipe& c) { r.calib.ctx = c.calib.ctx; }},
    {"calib.seed", [](Recipe& r, const Recipe& c) { r.calib.seed = c.calib.seed; }},
    {"imatrix", [](Recipe& r, const Recipe& c) { r.imatrix = c.imatrix; }},
    {"eval.text", [](Recipe& r, const Recipe& c) { r.eval.text = c.eval.text; }},
    {"eval.windows", [](Recipe& r, const Recipe& c) { r.eval.windows = c.eval.windows; }},
    {"eval.ctx", [](Recipe& r, const Recipe& c) { r.eval.ctx = c.eval.ctx; }},
    {"eval.skip_tokens", [](Recipe& r, const Recipe& c) { r.eval.skip_tokens = c.eval.skip_tokens; }},
    {"gate", [](Recipe& r, const Recipe& c) { r.gate = c.gate; }},
    {"strict", [](Recipe& r, const Recipe& c) { r.strict = c.strict; }},
    {"shard_size", [](Recipe& r, const Recipe& c) { r.shard_bytes = c.shard_bytes; }},
};

}  // namespace

Recipe parse_recipe(std::string_view yaml, const std::string& name, std::span<const std::string> methods) {
  YAML::Node root;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(yaml));
    if (documents.size() > 1)
      fail(ErrorKind::usage, "{} holds {} YAML documents; a recipe is one", name, documents.size());
    if (!documents.empty()) root = documents[0];
  } catch (const YAML::Exception& e) {
    fail(ErrorKind::bad_input, "{}, line {}: not YAML: {}", name, e.mark.line + 1, e.msg);
  }
  return Reader(name, methods).read(root);
}

Recipe read_recipe(const std::filesystem::path& path, std::span<const std::string> methods) {
  return parse_recipe(read_text(path, kLongestRecipe), path.string(), methods);
}

nlohmann::ordered_json to_json(const Recipe& r) {
  nlohmann::ordered_json j;
  if (!r.targets.empty()) j["targets"] = r.targets;
  if (!r.method.empty()) j["method"] = r.method;
  j["gptq"] = {{"damping", r.quantizer.damping}, {"refine", r.quantizer.refine}};
  if (r.asymmetric) j["asymmetric"] = *r.asymmetric ? "on" : "off";
  const CalibrationOptions& c = r.calib;
  j["calib"] = {{"text", c.text.string()}, {"windows", c.windows}, {"ctx", c.ctx}, {"seed", c.seed}};
  if (!r.imatrix.empty()) j["imatrix"] = r.imatrix.string();
  const EvalOptions& e = r.eval;
  j["eval"] = {{"text", e.text.string()}, {"windows", e.windows}, {"ctx", e.ctx}, {"skip_tokens", e.skip_tokens}};
  j["gate"] = r.gate;
  if (r.strict) j["strict"] = true;
  if (r.shard_bytes > 0) j["shard_size"] = r.shard_bytes;
  j["overrides"] = nlohmann::ordered_json::array();
  for (const SiteOverride& o : r.overrides) {
    nlohmann::ordered_json each = {{"sites", o.sites}};
    if (!o.scheme.empty()) each["scheme"] = o.scheme;
    if (!o.method.empty()) each["method"] = o.method;
    j["overrides"].push_back(std::move(each));
  }
  return j;
}

Recipe recipe_from_json(const nlohmann::ordered_json& j, std::span<const std::string> methods) {
  return parse_recipe(j.dump(), "the recipe of the report", methods);
}

Recipe overridden(const Recipe& recipe, const Recipe& command_line, const std::set<std::string>& given) {
  Recipe r = recipe;
  for (const std::string& key : given) {
    const auto at = std::find_if(std::begin(kFields), std::end(kFields), [&](const Field& f) { return f.key == key; });
    if (at == std::end(kFields)) fail(ErrorKind::internal, "a recipe has no key '{}'", key);
    at->copy(r, command_line);
  }
  return r;
}

bool concerns(const SiteOverride& o, std::string_view tensor, std::string_view role) {
  std::string_view module = tensor;
  if (module.ends_with(".weight")) module.remove_suffix(7);
  return std::any_of(o.sites.begin(), o.sites.end(), [&](const std::string& pattern) {
    if (!pattern.starts_with("re:"))
      return glob_fits(pattern, tensor) || glob_fits(pattern, module) || glob_fits(pattern, role);
    const std::regex compiled(pattern.substr(3));
    return std::regex_search(tensor.begin(), tensor.end(), compiled) ||
           std::regex_search(role.begin(), role.end(), compiled);
  });
}

}  // namespace kerf
