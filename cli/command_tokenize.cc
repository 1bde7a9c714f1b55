#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "core/error.h"
#include "model/chat/records.h"
#include "model/text/text_file.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/tokenizer_path.h"

namespace kerf {
namespace {

struct Options {
  std::string model;
  std::filesystem::path text, chat;
  bool special = false, prompt = false, json = false;
};

void print_text(const Tokenizer& tokenizer, const Options& o) {
  const std::vector<int32_t> ids = tokenizer.encode(read_text_file(o.text), o.special);
  if (o.json)
    print(nlohmann::ordered_json({{"ids", ids}}).dump() + "\n");
  else
    print(fmt::format("{}\n", fmt::join(ids, " ")));
}

void print_documents(const Tokenizer& tokenizer, const Options& o) {
  const std::string text = read_text_file(o.chat);
  Records lines(text, text_name(o.chat), tokenizer.spec(), o.model);
  for (size_t i = 0; i < lines.size(); ++i) {
    const Document d = lines.document(i, {.add_generation_prompt = o.prompt});
    const std::vector<int32_t> ids = encode(tokenizer, d);
    if (o.json)
      print(nlohmann::ordered_json({{"text", d.text}, {"ids", ids}}).dump() + "\n");
    else
      print(fmt::format("{}\n", fmt::join(ids, " ")));
  }
}

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("tokenize", "Token ids of a text");
  c->add_option("MODEL", o->model, "Model or tokenizer folder, .gguf file, hub id")->required();
  CLI::Option_group* input = c->add_option_group("input");
  input->add_option("--text", o->text, "UTF-8 text; - for standard input")->type_name("FILE");
  input
      ->add_option("--chat", o->chat,
                   "Records (JSONL or a JSON list) with \"text\", \"messages\", \"conversations\", ...: chats are "
                   "rendered through "
                   "the chat template")
      ->type_name("FILE");
  input->require_option(1);
  c->add_flag("--generation-prompt", o->prompt, "Of chats: with the beginning of an answer");
  c->add_flag("--special", o->special, "With the special tokens that the model puts around a text (BOS, EOS)");
  c->add_flag("--json", o->json, "Print JSON");
  add_examples(*c, {"kerf tokenize SmolLM2-135M-Instruct --text prompt.txt",
                    "kerf tokenize SmolLM2-135M-Instruct --chat chats.jsonl --json"});
  c->callback([o] {
    const Tokenizer tokenizer(open_tokenizer(resolve_model(o->model)));
    if (o->chat.empty())
      print_text(tokenizer, *o);
    else
      print_documents(tokenizer, *o);
  });
}

}  // namespace

const Command& command_tokenize() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
