#include "targets/target.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace kerf {

std::string_view name_of(Provenance p) {
  return p == Provenance::measured ? "measured against the runtime" : "from source";
}

std::string StoredSite::module() const {
  constexpr std::string_view suffix = ".weight";
  return shape.name.ends_with(suffix) ? shape.name.substr(0, shape.name.size() - suffix.size()) : shape.name;
}

std::string to_text(const RuntimeSettings& s) {
  std::string text;
  if (s.flash_attention) text = fmt::format("flash attention {}", *s.flash_attention ? "on" : "off");
  if (!s.kv_cache.empty()) text += fmt::format("{}key/value cache {}", text.empty() ? "" : ", ", s.kv_cache);
  return text;
}

Arithmetic Target::arithmetic_with(const RuntimeSettings& s, const Architecture& a) const {
  if (s.any())
    fail(ErrorKind::usage,
         "{} is no setting of {}: flash attention and the type of the key/value cache are settings of llama.cpp-cpu; "
         "leave them out, or measure that target alone",
         s.kv_cache.empty() ? "--flash-attention" : "--kv-cache", name());
  return arithmetic(a.dtype);
}

void Target::configure(nlohmann::ordered_json&, std::string_view, std::span<const StoredSite>) const {
  fail(ErrorKind::internal, "the target {} has no config.json", name());
}

std::vector<CompanionFile> Target::companions(const nlohmann::ordered_json&) const { return {}; }

const Target& find_target(std::string_view name) {
  std::string known;
  for (const Target* t : all_targets()) {
    if (t->name() == name) return *t;
    known += known.empty() ? "" : ", ";
    known += t->name();
  }
  fail(ErrorKind::usage, "there is no target '{}'; the targets are: {} (see `kerf targets`)", name, known);
}

std::string TargetChoice::text() const { return fmt::format("{}:{}", target->name(), scheme); }

TargetChoice parse_target(std::string_view text) {
  const size_t colon = text.find(':');
  const Target& target = find_target(text.substr(0, colon));
  return {&target, target.canonical(colon == std::string_view::npos ? "" : text.substr(colon + 1))};
}

}  // namespace kerf
