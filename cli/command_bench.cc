#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "pipeline/runs/speed_run.h"

namespace kerf {
namespace {

struct Options : SpeedOptions {
  bool json = false;
};

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("bench", "Speed of kerf's kernels on a model: prefill and decode");
  c->add_option("MODEL", o->model, "Checkpoint or packed folder, .safetensors or .gguf file, hub id")->required();
  c->add_option("--ctx", o->ctx, "Tokens of the window that prefill takes")
      ->check(between(1, 1e9))
      ->type_name("N")
      ->default_str("512, or the model's context where that is shorter");
  c->add_option("--seconds", o->seconds, "To measure for, each")
      ->check(between(0, 600))
      ->type_name("SECONDS")
      ->capture_default_str();
  add_arithmetic_option(*c, o->numerics);
  c->add_flag("--json", o->json, "Print JSON");
  add_examples(*c, {"kerf bench SmolLM2-135M-Instruct", "kerf bench out/SmolLM2-135M-Instruct-Q4_K_M.gguf --ctx 1024"});
  c->callback([o] {
    const SpeedRun s = speed_run(*o);
    if (o->json)
      print({{"model", o->model},
             {"format", s.format},
             {"kernels", name_of(isa())},
             {"threads", threads()},
             {"ctx", s.ctx},
             {"prefill_tokens_per_second", s.speed.prefill},
             {"decode_tokens_per_second", s.speed.decode}});
    else
      print(
          fmt::format("prefill {:.1f} tokens per second ({} tokens through all blocks)\n"
                      "decode  {:.1f} tokens per second (products of one token, head included; no attention)\n",
                      s.speed.prefill, s.ctx, s.speed.decode));
  });
}

}  // namespace

const Command& command_bench() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
