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
                                std::pair{std::string_view("full"), DistillPhase::full},
                                std::pair{std::string_view("lora"), DistillPhase::lora}};

}  // namespace

std::string_view name_of(DistillPhase phase) { return kPhases.at(static_cast<size_t>(phase)).first; }

std::vector<DistillPhase> parse_distill(std::span<const std::string> names) {
  std::vector<DistillPhase> phases;
  for (const std::string& name : names) {
    const auto* at = std::find_if(kPhases.begin(), kPhases.end(), [&](const auto& p) { return p.first == name; });
    if (at == kPhases.end())
      fail(ErrorKind::usage, "--distill {}: there are blocks, scales, codes, full and lora", name);
    if (std::find(phases.begin(), phases.end(), at->second) != phases.end())
      fail(ErrorKind::usage, "--distill names {} twice", name);
    if (!phases.empty() && phases.back() == DistillPhase::lora)
      fail(ErrorKind::usage,
           "--distill {} behind lora: an adapter makes up for what the files lack as they are; name lora last", name);
    phases.push_back(at->second);
  }
  return phases;
}

}  // namespace kerf
