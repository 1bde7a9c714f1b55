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
