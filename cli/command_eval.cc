#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common.h"
#include "model/text/text_file.h"
#include "pipeline/report/report.h"
#include "pipeline/runs/eval_run.h"

namespace kerf {
namespace {

struct Options : EvalRunOptions {
  bool json = false;
};

void add(CLI::App& program, int*) {
  auto o = std::make_shared<Options>();
  CLI::App* c = program.add_subcommand("eval", "Perplexity of any model kerf can read");
  c->add_option("MODEL", o->model,
                "Checkpoint or packed folder, .safetensors or .gguf file, hub id, or a folder of such folders")
      ->required();
  add_adapter_option(*c, o->adapter);
  add_options(*c, {.eval = &o->eval}, "eval.");
  add_arithmetic_option(*c, o->numerics);
  c->add_option("--logits", o->logits, "Also write log-probabilities as NumPy float32 [windows, ctx, vocab]")
      ->type_name("FILE.npy");
  c->add_flag("--json", o->json, "Print JSON");
  add_examples(*c, {"kerf eval SmolLM2-135M-Instruct --text heldout.txt",
                    "kerf eval out --text heldout.txt --windows 0 --json"});
  c->callback([o] {
    const std::vector<EvalResult> results = eval_models(*o);
    const bool several = results.size() > 1;
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const EvalResult& r : results) {
      const Perplexity& p = r.perplexity;
      const std::string rule = window_rule(r.eval, r.windows_have_bos, r.windows_of_documents);
      all.push_back({{"model", r.model},
                     {"text", text_name(r.eval.text.filename())},
                     {"format", r.format},
                     {"runtime", to_json(r.runtime)},
                     {"window_rule", rule},
                     {"windows", p.windows},
                     {"tokens", p.tokens},
                     {"nll", p.nll},
                     {"nll_stderr", p.nll_stderr},
                     {"ppl", p.ppl},
                     {"ppl_stderr", p.ppl_stderr},
                     {"remarks", r.remarks}});
      if (!r.adapter.empty()) all.back()["adapter"] = r.adapter.string();
      if (!o->json)
        print(fmt::format("{}perplexity {:.4f} ± {:.4f} over {} tokens in {} windows\n({}{})\n",
                          several ? fmt::format("{} on {}: ", r.model, text_name(r.eval.text.filename())) : "", p.ppl,
                          p.ppl_stderr, p.tokens, p.windows,
                          (r.adapter.empty() ? "" : fmt::format("with {}; ", r.adapter.string())) +
                              (r.runtime.any() ? to_text(r.runtime) + "; " : ""),
                          rule));
    }
    if (o->json) print(several ? all : all[0]);
  });
}

}  // namespace

const Command& command_eval() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
