#include "distill/phase.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace kerf {
namespace {

constexpr std::array kPhases = {std::pair{std::string_view("blocks"), DistillPhase::blocks},
                                std::pair{std::string_view("scales"), DistillPhase::scales},
                                std::pair{std::string_view("codes"), DistillPhase::codes},
                                std::pair{std::string_view("full"), DistillPhase::full}};

}  // namespace

std::string_view name_of(DistillPhase phase) { return kPhases.at(static_cast<size_t>(phase)).first; }

std::vector<DistillPhase> parse_distill(std::span<const std::string> names) {
  std::vector<DistillPhase> phases;
  for (const std::string& name : names) {
    const auto* at = std::find_if(kPhases.begin(), kPhases.end(), [&](const auto& p) { return p.first == name; });
    if (at == kPhases.end()) fail(ErrorKind::usage, "--distill {}: there are blocks, scales, codes and full", name);
    if (std::find(phases.begin(), phases.end(), at->second) != phases.end())
      fail(ErrorKind::usage, "--distill names {} twice", name);
    phases.push_back(at->second);
  }
  return phases;
}

}  // namespace kerf
