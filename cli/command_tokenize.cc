#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/error.h"
#include "core/file.h"
#include "pipeline/model_path.h"
#include "pipeline/tokenizer_path.h"

namespace kerf {
namespace {

struct Options {
  std::string model;
  std::filesystem::path text;
  bool special = false, json = false;
};

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("tokenize", "Token ids of a text");
  c->add_option("MODEL", o->model, "Model or tokenizer folder, .gguf file, hub id")->required();
  c->add_option("--text", o->text, "UTF-8 text")->required()->type_name("FILE");
  c->add_flag("--special", o->special, "With the special tokens that the model puts around a text (BOS, EOS)");
  c->add_flag("--json", o->json, "Print JSON");
  c->callback([o] {
    const Tokenizer tokenizer(open_tokenizer(resolve_model(o->model)));
    const std::vector<int32_t> ids = tokenizer.encode(read_text(o->text), o->special);
    if (o->json)
      print(nlohmann::ordered_json({{"ids", ids}}).dump() + "\n");
    else
      print(fmt::format("{}\n", fmt::join(ids, " ")));
  });
}

}  // namespace

const Command& command_tokenize() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
