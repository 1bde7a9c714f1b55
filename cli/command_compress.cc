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

// What a recipe calls these options.
constexpr std::pair<const char*, const char*> kRecipeKeys[] = {{"--target", "targets"},
                                                               {"--method", "method"},
                                                               {"--damping", "gptq.damping"},
                                                               {"--refine", "gptq.refine"},
                                                               {"--asymmetric", "asymmetric"},
                                                               {"--calib", "calib.text"},
                                                               {"--calib-windows", "calib.windows"},
                                                               {"--calib-ctx", "calib.ctx"},
                                                               {"--calib-seed", "calib.seed"},
                                                               {"--imatrix", "imatrix"},
                                                               {"--text", "eval.text"},
                                                               {"--windows", "eval.windows"},
                                                               {"--ctx", "eval.ctx"},
                                                               {"--skip-tokens", "eval.skip_tokens"},
                                                               {"--gate", "gate"},
                                                               {"--strict", "strict"},
                                                               {"--shard-size", "shard_size"}};

void add(CLI::App& program, int* exit_code) {
  auto o = std::make_shared<Options>();
  CLI::App* c =
      program.add_subcommand("compress", "Quantize a checkpoint into packed files and measure the loss on them");
  c->add_option("MODEL", o->model, "Checkpoint folder, .safetensors file or hub id (org/name[@revision])")->required();
  c->add_option("--target", o->targets, "What will load the files: NAME[:SCHEME], several separated by commas")
      ->delimiter(',')
      ->type_name("NAME[:SCHEME]");
  c->add_option("-o,--out", o->out, "Folder to write to; with several targets each gets a folder in it")
      ->required()
      ->type_name("DIR");
  c->add_option("--method", o->method,
                "How codes are chosen: rtn, gptq, awq, gptq+awq or auto (default: auto with --calib, rtn without)")
      ->type_name("NAME");
  add_calibration_options(*c, o->calib);
  c->add_option("--asymmetric", o->asymmetric,
                "on: run the model in full precision beside the compressed one, and let the weights make up for what "
                "the latter's activations lack; about twice the time (default: on with the method auto)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, bool>{{"on", true}, {"off", false}}))
      ->type_name("on|off");
  c->add_option("--imatrix", o->imatrix,
                "Importance matrix of llama.cpp (GGUF or .dat): rtn weighs errors by it; instead of --calib")
      ->type_name("FILE");
  c->add_option("--damping", o->quantizer.damping, "Added to the Hessian's diagonal, relative to its mean")
      ->check(between(1e-6, 1))
      ->capture_default_str();
  c->add_option("--refine", o->quantizer.refine, "Passes over the codes after the first")
      ->check(CLI::Range(0, kMostRefines))
      ->capture_default_str();
  c->add_option("--recipe", o->recipe,
                "YAML that says the same as these options, and more for some matrices; options given here go before it")
      ->type_name("FILE");
  add_eval_options(*c, o->eval);
  c->add_option("--gate", o->gate,
                "Limits, such as 'kl<0.05,ppl<1.03,top1>0.9,bytes<90MB'; exit code 1 when one is missed")
      ->type_name("LIMITS");
  c->add_flag("--strict", o->strict,
              "Refuse a matrix that the target can only store in another way than the scheme says");
  add_size_option(*c, "--memory", o->memory,
                  "Memory that a calibrated run may use, such as 2GB; activations beyond it lie in a file of the "
                  "output folder while it runs");
  c->add_flag("--resume", o->resume, "Go on with a calibrated run that was stopped, in the same folder");
  c->add_option("--save-every", o->save_every, "Seconds between saved states of a calibrated run")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  c->add_flag(
      "--force", o->force,
      "Write into a folder that is not empty, replacing files of the same name and removing what earlier runs of "
      "kerf have left there");
  c->add_flag("--publish-anyway", o->publish_anyway,
              "Publish the files when a gate is missed, too; else they stay in OUT/.kerf-staging, and OUT as it was");
  CLI::Option* bytes = add_size_option(*c, "--bytes", o->bytes,
                                       "Size of the file, shared out among the matrices for the smallest predicted "
                                       "loss; needs --calib");
  c->add_option("--bpw", o->bpw, "The same as bits per weight of the whole file")
      ->check(between(0.1, 32))
      ->excludes(bytes);
  add_size_option(*c, "--shard-size", o->shard_bytes,
                  "Most bytes of one file of weights (default: 5 GB in safetensors; a GGUF is one file)");
  c->add_flag("--dry-run", o->dry_run, "Print sizes, memory, disk and time that the run would take, and stop");
  c->add_flag("--json", o->json, "Print the report as JSON instead of the table");
  c->callback([c, o, exit_code] {
    if (!o->recipe.empty()) {
      std::set<std::string> given;
      for (const auto& [option, key] : kRecipeKeys)
        if (c->count(option) > 0) given.insert(key);
      static_cast<Recipe&>(*o) = overridden(read_recipe(o->recipe), *o, given);
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
