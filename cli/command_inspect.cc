#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/error.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/model_path.h"

namespace kerf {
namespace {

struct Options {
  std::string model, tensor;
  std::filesystem::path npy;
  bool json = false;
};

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("inspect", "Tensors, types, bits per weight and metadata of a file or folder");
  c->add_option("MODEL", o->model, "Folder, .safetensors or .gguf file, hub id")->required();
  CLI::Option* tensor = c->add_option("--tensor", o->tensor, "Decode this tensor to --npy instead")->type_name("NAME");
  CLI::Option* npy = c->add_option("--npy", o->npy, "Where to write it, as NumPy float32")->type_name("FILE.npy");
  tensor->needs(npy);
  npy->needs(tensor);
  c->add_flag("--json", o->json, "Print JSON");
  c->callback([o] {
    const std::filesystem::path path = resolve_model(o->model);
    if (!o->tensor.empty()) {
      write_tensor_npy(path, o->tensor, o->npy);
      return;
    }
    const nlohmann::ordered_json found = inspect(path);
    if (o->json)
      print(found);
    else
      print(inspection_text(found));
  });
}

}  // namespace

const Command& command_inspect() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
