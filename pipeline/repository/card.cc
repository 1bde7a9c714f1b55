#include "pipeline/repository/card.h"

#include "core/version.h"

namespace kerf {
namespace {

std::string row(std::string_view name, const std::string& value) { return fmt::format("| {} | {} |\n", name, value); }

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
  card += row("size of the weights", fmt::format("{} bytes", t.bytes));
  card += row("bits per weight",
              fmt::format("{:.3f} (blocks {:.3f}, embedding and head {:.3f})", t.bpw.all, t.bpw.body, t.bpw.embedding));
  if (t.verification) {
    const Comparison& c = t.verification->comparison;
    card += row("perplexity", fmt::format("{:.4f}, reference {:.4f}, ratio {:.4f} ± {:.4f}", c.ppl, c.ppl_reference,
                                          c.ppl_ratio, c.ppl_ratio_stderr));
    card += row("KL divergence from the reference",
                fmt::format("mean {:.6f} ± {:.6f}, median {:.6f}, 99 % {:.6f}, max {:.4f}", c.kl_mean, c.kl_stderr,
                            c.kl_median, c.kl_p99, c.kl_max));
    card += row("same most probable token", fmt::format("{:.4f} ± {:.4f}", c.top1, c.top1_stderr));
    card += fmt::format("\nMeasured on the packed bytes with the runtime's arithmetic ({}), {} tokens of {}: {}.\n",
                        t.arithmetic, c.tokens, report.eval.text.filename().string(), window_rule(report.eval));
    if (t.alternative) {
      const Comparison& other = t.alternative->verification.comparison;
      card += fmt::format("By {}: perplexity {:.4f}, KL mean {:.6f} ± {:.6f}, same token {:.4f}.\n",
                          t.alternative->arithmetic, other.ppl, other.kl_mean, other.kl_stderr, other.top1);
    }
  } else {
    card += "\nThe accuracy was not measured.\n";
  }
  return card;
}

}  // namespace kerf
