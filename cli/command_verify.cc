#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "pipeline/runs/verify_run.h"

namespace kerf {
namespace {

struct Options : VerifyOptions {
  bool json = false;
};

void add(CLI::App& program, int* exit_code) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("verify", "Measure packed files against the checkpoint they were made from");
  c->add_option("DIR", o->packed, "Packed folder, .gguf file, or a folder of such folders")->required();
  c->add_option("--against", o->against, "The original checkpoint, computed in float32")
      ->required()
      ->type_name("MODEL");
  add_adapter_option(*c, o->adapter);
  add_options(*c, {.eval = &o->eval}, "eval.");
  c->add_option("--gate", o->gate, "Limits, such as 'kl<0.05,top1>0.9'; exit code 1 when one is missed")
      ->type_name("LIMITS")
      ->check(not_empty());
  add_arithmetic_option(*c, o->numerics);
  c->add_flag("--json", o->json, "Print the report as JSON instead of the table");
  add_examples(*c, {"kerf verify out --against SmolLM2-135M-Instruct --text heldout.txt --gate 'kl<0.05,top1>0.9'",
                    "kerf verify model-Q4_K_M.gguf --against SmolLM2-135M-Instruct --text heldout.txt",
                    "kerf verify out --adapter out/adapter --against SmolLM2-135M-Instruct --text heldout.txt"});
  c->callback([o, exit_code] {
    const Report report = verify_run(*o);
    if (o->json)
      print(to_json(report));
    else
      print(to_table(report));
    *exit_code = report.passed() ? 0 : 1;
  });
}

}  // namespace

const Command& command_verify() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
