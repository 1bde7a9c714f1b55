#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/cpu.h"
#include "kernels/gemm.h"
#include "pipeline/repository/repository.h"
#include "targets/target.h"

namespace kerf {
namespace {

std::string to_text() {
  std::string text;
  for (const Target* t : all_targets()) {
    text += fmt::format("{}: {} ({}, arithmetic {})\n", t->name(), t->runtime(), repository_of(*t).container,
                        name_of(t->provenance()));
    for (const SchemeHelp& s : t->schemes())
      text += fmt::format("  {:<16}{}{}\n", s.name, s.text, t->canonical("") == s.name ? " (default)" : "");
    for (const std::string_view rule : t->rules()) text += fmt::format("  - {}\n", rule);
  }
  text += fmt::format("packed kernels on this CPU ({}):", name_of(isa()));
  for (const PackedGemm* g : all_gemms())
    if (g == &find_gemm(g->format)) text += fmt::format(" {}/{}", g->format, name_of(g->isa));
  return text + "\n";
}

nlohmann::ordered_json to_json() {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Target* t : all_targets()) {
    nlohmann::ordered_json j = {{"target", t->name()},
                                {"runtime", t->runtime()},
                                {"container", repository_of(*t).container},
                                {"arithmetic", name_of(t->provenance())},
                                {"default", t->canonical("")}};
    for (const SchemeHelp& s : t->schemes()) j["schemes"].push_back({{"name", s.name}, {"text", s.text}});
    for (const std::string_view rule : t->rules()) j["rules"].push_back(rule);
    all.push_back(std::move(j));
  }
  return all;
}

void add(CLI::App& program, int*) {
  auto json = std::make_shared<bool>(false);
  CLI::App* c = program.add_subcommand("targets", "Every target: runtime, schemes, rules, and the kernels of this CPU");
  c->add_flag("--json", *json, "Print JSON");
  add_examples(*c, {"kerf targets", "kerf targets --json"});
  c->callback([json] {
    if (*json)
      print(to_json());
    else
      print(to_text());
  });
}

}  // namespace

const Command& command_targets() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
