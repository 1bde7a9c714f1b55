#include "pipeline/repository/card.h"

#include "core/version.h"

namespace kerf {
namespace {

// Rows of the table; {name} stands for a metric (verify/metric.h).
struct Row {
  std::string_view what, text;
  bool needs_verification = true;
};
constexpr Row kRows[] = {
    {"size of the weights", "{bytes} bytes", false},
    {"bits per weight", "{bpw_all} (blocks {bpw_body}, embedding and head {bpw_embedding})", false},
    {"perplexity", "{ppl_packed}, reference {ppl_reference}, ratio {ppl_ratio} ± {ppl_ratio_stderr}"},
    {"KL divergence from the reference",
     "mean {kl_mean} ± {kl_stderr}, median {kl_median}, 99 % {kl_p99}, max {kl_max}"},
    {"same most probable token", "{top1} ± {top1_stderr}"},
};

}  // namespace

std::string model_card(const Report& report, const TargetResult& t, const TargetPlan& plan) {
  const HubCard hub = plan.choice.target->card();
  std::string card = fmt::format("---\nlibrary_name: {}\ntags:\n- {}\n- quantized\n- kerf\n---\n# {} for {}\n\n",
                                 hub.library, hub.tag, report.model, plan.choice.text());
  const std::string_view runtime = plan.choice.target->runtime();
  card += report.repacked_from.empty()
              ? fmt::format("Compressed from {} with kerf {}, method {}. For {}.\n\n", report.model, version(),
                            report.method, runtime)
              : fmt::format("Repacked from {} ({}) with kerf {}: the same quantized numbers, bit for bit. For {}.\n\n",
                            report.model, report.repacked_from, version(), runtime);
  const std::string files = plan.file_name.empty() ? "<this folder>" : t.files.front().name;
  card += fmt::format("```\n{}\n```\n", fmt::format(fmt::runtime(hub.command), files));
  card += "\n## What the compression cost\n\n| | |\n|---|---|\n";
  const Measurement measured = measurement_of(t);
  for (const Row& r : kRows)
    if (t.verification || !r.needs_verification)
      card += fmt::format("| {} | {} |\n", r.what, filled_in(r.text, measured));
  if (t.verification) {
    card += fmt::format("\nMeasured on the packed bytes with the runtime's arithmetic ({}), {} tokens of {}: {}.\n",
                        t.arithmetic, t.verification->comparison.tokens, report.eval.text.filename().string(),
                        window_rule(report.eval, report.windows_have_bos));
    if (t.alternative)
      card += fmt::format("By {}: {}.\n", t.alternative->arithmetic,
                          filled_in("perplexity {ppl_packed}, KL mean {kl_mean} ± {kl_stderr}, same token {top1}",
                                    {.verification = &t.alternative->verification}));
  } else {
    card += "\nThe accuracy was not measured.\n";
  }
  if (t.allocation) card += fmt::format("\nThe size was given, the {}.\n", describe(*t.allocation));
  return card;
}

}  // namespace kerf
