#include <memory>

#include "cli/command.h"
#include "cli/common.h"
#include "pipeline/runs/imatrix_run.h"

namespace kerf {
namespace {

void add(CLI::App& program, int*) {
  auto o = std::make_shared<ImatrixOptions>();
  CLI::App* c = program.add_subcommand("imatrix", "Measure an importance matrix for llama.cpp's llama-quantize");
  c->add_option("MODEL", o->model, "Checkpoint or packed folder, .safetensors or .gguf file, hub id")->required();
  add_options(*c, {.calib = &o->calib}, "calib.");
  c->get_option("--calib")->required();
  c->add_option("-o,--out", o->out, "File to write")->required()->type_name("FILE");
  c->add_option("--format", o->format, "gguf, or dat for llama.cpp of before August 2025")
      ->transform(one_of({{"gguf", std::to_string(static_cast<int>(ImatrixFormat::gguf))},
                          {"dat", std::to_string(static_cast<int>(ImatrixFormat::legacy))}}))
      ->type_name("gguf|dat")
      ->default_str("gguf");
  add_examples(*c, {"kerf imatrix SmolLM2-135M-Instruct --calib text.txt -o SmolLM2.imatrix.gguf"});
  c->callback([o] {
    const Imatrix m = imatrix_run(*o);
    print(fmt::format("{} matrices over {} tokens in {} windows, written to {}\n", m.entries.size(),
                      m.chunks * m.chunk_tokens, m.chunks, o->out.string()));
  });
}

}  // namespace

const Command& command_imatrix() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
