#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "pipeline/runs/repack.h"

namespace kerf {
namespace {

struct Options : RepackOptions {
  bool json = false;
};

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("repack", "The same quantized numbers in another layout, bit for bit");
  c->add_option("PACKED", o->packed, "Quantized repository (GPTQ, AWQ or compressed-tensors) or GGUF file")->required();
  c->add_option("--target", o->target,
                "What will load the files; without a scheme the one that holds the numbers is taken")
      ->required()
      ->type_name("NAME[:SCHEME]");
  c->add_option("-o,--out", o->out, "Folder to write to")->required()->type_name("DIR");
  c->add_option("--dtype", o->dtype,
                "Type of embedding, norms and compressed-tensors' scales: bfloat16, float16 or float32 (default: the "
                "model's, or another that holds the same numbers)")
      ->type_name("NAME");
  c->add_flag(
      "--force", o->force,
      "Write into a folder that is not empty, replacing files of the same name and removing what earlier runs of "
      "kerf have left there");
  add_size_option(*c, "--shard-size", o->shard_bytes,
                  "Most bytes of one file of weights (default: 5 GB in safetensors; a GGUF is one file)");
  c->add_flag("--json", o->json, "Print JSON");
  add_examples(*c, {"kerf repack out --target awq -o out-awq",
                    "kerf repack model.gguf --target llama.cpp-cpu --shard-size 2GB -o shards"});
  c->callback([o] {
    const Repacked r = repack(*o);
    if (!o->json) {
      print(fmt::format("{} matrices from {} to {}, the same numbers; written to {}\n", r.matrices, r.from,
                        r.choice.text(), o->out.string()));
      return;
    }
    nlohmann::ordered_json files = nlohmann::ordered_json::array();
    for (const auto& f : r.files) files.push_back(f.filename().string());
    print({{"from", r.from},
           {"target", r.choice.target->name()},
           {"scheme", r.choice.scheme},
           {"matrices", r.matrices},
           {"files", files}});
  });
}

}  // namespace

const Command& command_repack() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
