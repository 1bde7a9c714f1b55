#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/error.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/models_in.h"

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
  c->add_option("MODEL", o->model, "Folder, .safetensors or .gguf file, hub id, or a folder of such folders")
      ->required();
  CLI::Option* tensor = c->add_option("--tensor", o->tensor, "Decode this tensor to --npy instead")->type_name("NAME");
  CLI::Option* npy = c->add_option("--npy", o->npy, "Where to write it, as NumPy float32")->type_name("FILE.npy");
  tensor->needs(npy);
  npy->needs(tensor);
  c->add_flag("--json", o->json, "Print JSON");
  add_examples(*c, {"kerf inspect out", "kerf inspect model.gguf --json",
                    "kerf inspect out --tensor model.norm.weight --npy norm.npy"});
  c->callback([o] {
    const std::vector<std::filesystem::path> paths = resolve_models(o->model);
    if (!o->tensor.empty()) {
      if (paths.size() > 1)
        fail(ErrorKind::usage, "{} holds {} models, and --tensor is of one; name one of them, such as {}", o->model,
             paths.size(), paths[0].string());
      write_tensor_npy(paths[0], o->tensor, o->npy);
      return;
    }
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const std::filesystem::path& path : paths) all.push_back(inspect(path));
    if (o->json)
      print(paths.size() > 1 ? all : all[0]);
    else
      for (const nlohmann::ordered_json& found : all) print(inspection_text(found));
  });
}

}  // namespace

const Command& command_inspect() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
