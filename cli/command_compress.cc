#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "pipeline/runs/compress.h"

namespace kerf {
namespace {

struct Options : CompressOptions {
  std::filesystem::path recipe;
  bool json = false, dry_run = false;
};

void add(CLI::App& program, int* exit_code) {
  auto o = std::make_shared<Options>();
  CLI::App* c =
      program.add_subcommand("compress", "Quantize a checkpoint into packed files and measure the loss on them");
  c->add_option("MODEL", o->model,
                "Checkpoint folder, .safetensors file, GGUF file of F16, BF16 or F32, or hub id "
                "(org/name[@revision][:FILE])")
      ->required();
  c->add_option("-o,--out", o->out,
                "Folder to write to (--dry-run needs none); with several targets each gets one in it")
      ->type_name("DIR");
  c->add_option(
       "--recipe", o->recipe,
       "YAML that says the same as these options, and more for some matrices; options given here go before "
       "it. A kerf-report.json is one, too: the same run again, with its texts in the working directory or beside "
       "it, or given anew")
      ->type_name("FILE");
  add_options(*c, structs_of(*o), "");
  c->get_option("--bpw")->excludes(c->get_option("--bytes"));
  c->add_flag("--dry-run", o->dry_run, "Print sizes, memory, disk and time that the run would take, and stop");
  c->add_flag("--json", o->json, "Print the report as JSON instead of the table");
  add_examples(*c,
               {"kerf compress SmolLM2-135M-Instruct --target llama.cpp-cpu:Q4_K_M --text heldout.txt -o out",
                "kerf compress SmolLM2-135M-Instruct --target llama.cpp-cpu:Q4_K_M --calib chats.jsonl --text "
                "heldout.txt -o out",
                "kerf compress SmolLM2-135M-Instruct --target llama.cpp-cpu:Q8_0,vllm:w8a16-channel --text heldout.txt "
                "--gate 'kl<0.05' -o out",
                "kerf compress SmolLM2-135M-Instruct --target llama.cpp-cpu --bytes 90MB --calib chats.jsonl -o out",
                "kerf compress SmolLM2-135M-Instruct --recipe out/kerf-report.json -o again"});
  c->callback([c, o, exit_code] {
    if (!o->recipe.empty()) {
      std::set<std::string> given;
      for (const Option& option : all_options())
        if (!option.key.empty() && c->count(std::string(option.flag)) > 0) given.emplace(option.key);
      static_cast<Recipe&>(*o) = overridden(read_recipe(o->recipe), *o, given);
      check_inputs(o->recipe, *o, given);
    }
    if (o->dry_run) {
      const RunEstimate e = dry_run(*o);
      if (o->json)
        print(to_json(e));
      else
        print(to_table(e));
      return;
    }
    const Report report = compress(*o);
    if (o->json)
      print(to_json(report));
    else
      print(to_table(report));
    *exit_code = report.passed() ? 0 : 1;
  });
}

}  // namespace

const Command& command_compress() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
