#include "pipeline/repository/card.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "core/version.h"
#include "core/words.h"
#include "model/text/text_file.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

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

// A text in YAML. Plain words stay as they are, but for those that YAML takes for something else ("no" is Norwegian).
std::string yaml(const std::string& text) {
  static const std::set<std::string> kNoTexts = {"y", "n", "yes", "no", "true", "false", "on", "off", "null"};
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-";
  const bool plain = !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) &&
                     text.find_first_not_of(kPlain) == std::string::npos && !kNoTexts.contains(lower_case(text));
  return plain ? text : shown_json(text, -1);
}

// One line for a text, several for a list; none where there is nothing to say.
std::string yaml_line(const std::string& key, const std::string& value) {
  return value.empty() ? "" : fmt::format("{}: {}\n", key, yaml(value));
}
std::string yaml_lines(const std::string& key, const std::vector<std::string>& values) {
  if (values.empty()) return "";
  std::string text = key + ":\n";
  for (const std::string& value : values) text += fmt::format("- {}\n", yaml(value));
  return text;
}

// `pruned`: smaller than the source.
std::string front_matter(const SourceIdentity& s, const HubCard& hub, bool pruned) {
  std::string text = "---\n";
  if (!s.base_models.empty())
    text += yaml_lines("base_model", s.base_models);
  else if (!s.hub_id.empty())
    text += yaml_line("base_model", s.hub_id);
  else
    text += fmt::format("base_model: {}  # kerf read a local folder: put the hub id here\n", yaml(s.name));
  if (hub.quantized) text += "base_model_relation: quantized\n";
  text += yaml_lines("language", s.languages);
  text += fmt::format("library_name: {}\n", hub.library);
  text += yaml_line("license", s.license) + yaml_line("license_name", s.license_name) +
          yaml_line("license_link", s.license_link);
  return text + fmt::format("pipeline_tag: text-generation\ntags:\n- {}\n{}{}- kerf\n---\n", hub.tag,
                            hub.quantized ? "- quantized\n" : "", pruned ? "- pruned\n" : "");
}

// Where the model comes from and what its publisher says of licence and language.
std::string source_text(const SourceIdentity& s) {
  std::string text;
  if (!s.revision.empty())
    text += fmt::format("The source is revision `{}` of {}. ", s.revision, s.hub_id.empty() ? s.name : s.hub_id);
  if (s.license.empty())
    text += "The source names no licence: ask whoever published it. ";
  else if (s.license == "other")
    text += fmt::format("The source is under a licence of its own{}{}, according to {}. ",
                        s.license_name.empty() ? "" : ", " + s.license_name,
                        s.license_link.empty() ? "" : fmt::format(" ({})", s.license_link), s.license_said_by);
  else
    text += fmt::format("The licence of the source is {}, according to {}. ", s.license, s.license_said_by);
  text += s.languages.empty() ? "Of languages the source says nothing."
                              : fmt::format("Its languages: {}.", fmt::join(s.languages, ", "));
  return text + "\n\n";
}

// What the codes were chosen by.
std::string method_text(const Report& report, const TargetPlan& plan) {
  if (!report.recipe) return "";
  const Recipe& r = *report.recipe;
  const auto checksum = [&](std::string_view key) {
    for (const InputFile& f : report.inputs)
      if (f.key == key) return fmt::format(" (SHA-256 `{}`)", f.sha256);
    return std::string();
  };
  const bool chosen =
      plan.choice.target->card().quantized ||
      std::any_of(plan.matrices.begin(), plan.matrices.end(), [](const auto& m) { return m.sparsity.has_value(); });
  std::string text = chosen ? fmt::format("Method: {}", report.method) : "Nothing was quantized; pruned";
  if (!r.calib.text.empty()) {
    text += fmt::format(", calibrated on {} windows of {} tokens of {}{}", report.calibration_windows, r.calib.ctx,
                        r.calib.text.filename().string(), checksum("calib.text"));
    if (r.calib.seed != 0) text += fmt::format(", shuffled with seed {}", r.calib.seed);
    if (chosen && r.asymmetric.value_or(false)) text += ", asymmetric";
    if (chosen && r.hessian == kKlHessian) text += ", errors counted by what they do to the predictions";
  } else if (!r.imatrix.empty()) {
    text += fmt::format(", weighed by the importance matrix {}{}", r.imatrix.filename().string(), checksum("imatrix"));
  } else if (chosen) {
    text += ", without a calibration text";
  }
  text += ".";
  for (const std::string& remark : plan.remarks) text += fmt::format("\n- {}", remark);
  return text + "\n\n";
}

// What is smaller than in the source, and what that did.
std::string pruning_text(const Report& report) {
  const nlohmann::ordered_json& p = report.pruned;
  if (p.is_null()) return "";
  std::string text = fmt::format("\n## What was pruned\n\n{} of {} parameters are left. What stays:\n\n",
                                 p["parameters"]["after"].get<int64_t>(), p["parameters"]["before"].get<int64_t>());
  for (const auto& line : p["stays"]) text += fmt::format("- {}\n", line.get<std::string>());
  if (report.pruned_model)
    text +=
        filled_in(std::string(p.contains("zeros_after") ? "\nBefore weights became zero" : "\nBefore it was packed") +
                      ", in float32: perplexity {ppl_packed}, ratio {ppl_ratio} ± {ppl_ratio_stderr}, "
                      "KL mean {kl_mean} ± {kl_stderr}, same token {top1}.\n",
                  {.verification = &*report.pruned_model});
  if (p.contains("vocabulary")) {
    const auto length = [&](const char* of) {
      const auto& tokens = p["vocabulary"][of]["tokens_per_character"];
      return fmt::format("{:.4f} instead of {:.4f} tokens per character", tokens["after"].get<double>(),
                         tokens["before"].get<double>());
    };
    text += fmt::format("\nTexts are longer with fewer tokens: {} of the text that says which stay", length("texts"));
    if (p["vocabulary"].contains("evaluation")) text += fmt::format(", {} of the evaluated one", length("evaluation"));
    text += ".";
    if (report.pruned_model)
      text += fmt::format(
          " The source gives {:.2f} ± {:.2f} % of its probability to tokens that are gone; perplexities and KL are "
          "those of the tokens that stay, in the same, longer tokenization.",
          100 * report.pruned_model->comparison.lost_mass, 100 * report.pruned_model->comparison.lost_mass_stderr);
    text += "\n";
  }
  return text;
}

std::string continuations_text(const TargetResult& t) {
  if (t.continuations.is_null()) return "";
  std::string text =
      "\n## What it writes\n\nPerplexity hides what pruning does to longer answers. Written greedily, in float32, from "
      "the same beginnings:\n";
  for (const auto& c : t.continuations["texts"])
    text += fmt::format("\n- after {}\n  - the source: {}\n  - this model: {}\n", shown_json(c["prompt"], -1),
                        shown_json(c["original"], -1), shown_json(c["packed"], -1));
  return text;
}

// What training has gained, on windows that it did not see.
std::string training_text(const TargetResult& t) {
  if (t.distilled.is_null()) return "";
  const auto& d = t.distilled;
  std::string text = fmt::format(
      "\n## Training\n\nTrained after packing to predict what the source predicts, on {} windows of {} tokens, {} more "
      "held out:\n",
      d["windows"].get<int64_t>(), d["ctx"].get<int64_t>(), d["held_out_windows"].get<int64_t>());
  for (const auto& phase : d["phases"]) {
    text += fmt::format("\n- {}: {} steps of {} windows", phase["phase"].get<std::string>(),
                        phase["steps"].get<int64_t>(), d["batch"].get<int64_t>());
    if (const std::string gained = phase_text(phase); !gained.empty()) text += "; " + gained;
  }
  return text + "\n";
}

// Of a smaller vocabulary.
std::string lost_text(const Verification& v) {
  return v.comparison.lost_mass > 0
             ? fmt::format(
                   "There {:.2f} ± {:.2f} % of the source's probability is on tokens that are gone; the figures "
                   "are of the others.\n",
                   100 * v.comparison.lost_mass, 100 * v.comparison.lost_mass_stderr)
             : "";
}

// How the adapter is loaded with the model. vLLM allows these ranks (vllm/config/lora.py), and no larger ones.
std::string adapter_text(const TargetResult& t) {
  if (t.distilled.is_null() || !t.distilled["phases"].back().contains("rank")) return "";
  const auto file = std::find_if(t.files.begin(), t.files.end(), [](const FileEntry& f) {
    return f.name.ends_with("-lora.gguf") || f.name.ends_with("adapter_config.json");
  });
  const fs::path path = file->name, folder = path.parent_path();
  const auto rank = t.distilled["phases"].back()["rank"].get<int64_t>();
  std::string text = fmt::format("\nAn adapter (LoRA) belongs to the model, and the {} below are with it. ",
                                 t.verification ? "figures" : "sizes");
  if (path.extension() == ".gguf") return text + fmt::format("Give llama.cpp `--lora {}` too.\n", path.string());
  constexpr int64_t kRanks[] = {8, 16, 32, 64, 128, 256, 320, 512};
  const auto* allowed = std::lower_bound(std::begin(kRanks), std::end(kRanks), rank);
  text += allowed == std::end(kRanks)
              ? "vLLM takes no adapter of so high a rank. "
              : fmt::format("Give vLLM `--enable-lora --max-lora-rank {} --lora-modules NAME={}` too. ", *allowed,
                            folder.string());
  const std::string peft = fmt::format("`PeftModel.from_pretrained(model, \"{}\")`", folder.string());
  if (t.target != "vllm") return text + fmt::format("In transformers PEFT loads it: {}.\n", peft);
  return text +
         fmt::format(
             "In transformers PEFT, which adapts no packed matrices of this format, loads it over a model that was "
             "read with `quantization_config=CompressedTensorsConfig(dequantize=True)`: {}.\n",
             peft);
}

// How fast it was where it was made.
std::string speed_text(const Report& report) {
  if (!report.speed) return "";
  std::string text = fmt::format(
      "\n## Speed on the machine that made this\n\nTokens per second of kerf's own kernels on {} threads: prefill of "
      "{} "
      "tokens through all blocks, and the products of one token. In float32 stand the numbers before they were packed, "
      "so that what pruning gains is told from what packing gains.\n\n"
      "| | arithmetic | prefill | decode |\n|---|---|---|---|\n",
      report.speed->threads, report.speed->ctx);
  for (const SpeedRow& r : speed_rows(report))
    text += fmt::format("| {} | {} | {} | {} |\n", r.what, r.arithmetic, r.prefill, r.decode);
  return text;
}

}  // namespace

std::string model_card(const Report& report, const TargetResult& t, const TargetPlan& plan) {
  const HubCard hub = plan.choice.target->card();
  std::string card = fmt::format("{}# {} for {}\n\n", front_matter(report.source, hub, !report.pruned.is_null()),
                                 report.model, plan.choice.text());
  const std::string_view runtime = plan.choice.target->runtime();
  card += report.repacked_from.empty()
              ? fmt::format("Compressed from {} with kerf {}. For {}.\n\n", report.model, version(), runtime)
              : fmt::format("Repacked from {} ({}) with kerf {}: the same quantized numbers, bit for bit. For {}.\n\n",
                            report.model, report.repacked_from, version(), runtime);
  card += source_text(report.source) + method_text(report, plan);
  const std::string files = plan.file_name.empty() ? "." : t.files.front().name;
  card +=
      fmt::format("In this folder:\n\n```\n{}\n```\n", fmt::format(fmt::runtime(hub.command), files)) + adapter_text(t);
  card += "\n## What the compression cost\n\n| | |\n|---|---|\n";
  const Measurement measured = measurement_of(t);
  for (const Row& r : kRows)
    if (t.verification || !r.needs_verification)
      card += fmt::format("| {} | {} |\n", r.what, filled_in(r.text, measured));
  if (t.verification) {
    card += fmt::format("\nMeasured on the packed bytes with the runtime's arithmetic ({}{}), {} tokens of {}: {}.\n",
                        t.arithmetic, t.runtime.any() ? "; " + to_text(t.runtime) : "",
                        t.verification->comparison.tokens, text_name(report.eval.text.filename()),
                        window_rule(report.eval, report.windows_have_bos, report.windows_of_documents));
    if (t.second)
      card += fmt::format("On a second text, {}: ", text_name(report.eval.second_text.filename())) +
              filled_in(
                  "perplexity {ppl_packed}, reference {ppl_reference}, KL mean {kl_mean} ± {kl_stderr}, same token "
                  "{top1}.\n",
                  {.verification = &*t.second}) +
              lost_text(*t.second);
    if (t.unadapted)
      card += filled_in(
          "With the adapter, that is; without it: perplexity {ppl_packed}, KL mean {kl_mean} ± {kl_stderr}, same token "
          "{top1}.\n",
          {.verification = &*t.unadapted});
    if (t.alternative)
      card += fmt::format("By {}: {}.\n", t.alternative->arithmetic,
                          filled_in("perplexity {ppl_packed}, KL mean {kl_mean} ± {kl_stderr}, same token {top1}",
                                    {.verification = &t.alternative->verification}));
  } else {
    card += "\nThe accuracy was not measured.\n";
  }
  card += pruning_text(report) + training_text(t) + continuations_text(t) + speed_text(report);
  if (t.allocation) card += fmt::format("\nThe size was given, the {}.\n", describe(*t.allocation));
  return card;
}

}  // namespace kerf
