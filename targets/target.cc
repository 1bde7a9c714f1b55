#include "targets/target.h"

#include "core/error.h"

namespace kerf {

std::string_view name_of(Provenance p) {
  return p == Provenance::measured ? "measured against the runtime" : "from source";
}

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
