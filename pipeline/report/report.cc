#include "pipeline/report/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cpu.h"
#include "core/units.h"
#include "core/version.h"
#include "model/text/text_file.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;

ordered_json metrics_json(const Verification& v) {
  const Measurement measured{.verification = &v};
  ordered_json j = {{"tokens", v.comparison.tokens}, {"windows", v.comparison.windows}};
  for (const Metric& m : all_metrics())
    if (!m.key.empty()) j[std::string(m.key)] = m.get(measured);
  if (v.comparison.lost_mass > 0)
    j["lost_mass"] = {{"mean", v.comparison.lost_mass}, {"stderr", v.comparison.lost_mass_stderr}};
  return j;
}

ordered_json calibration_json(const std::vector<SiteOutcome>& outcomes) {
  ordered_json list = ordered_json::array();
  for (const SiteOutcome& o : outcomes) {
    list.push_back({{"name", o.name},
                    {"method", o.method},
                    {"relative_error_rtn", o.error_rtn},
                    {"relative_error", o.error},
                    {"alpha", o.alpha},
                    {"damping", o.damping},
                    {"asymmetric_strength", o.asymmetric_strength},
                    {"dead_channels", o.dead}});
    if (o.zeros > 0) list.back()["zeros"] = o.zeros;
  }
  return list;
}

// Of four digits: more are noise.
ordered_json speed_json(const Speed& s) {
  const auto rounded = [](double x) { return std::stod(fmt::format("{:.4g}", x)); };
  return {{"arithmetic", s.arithmetic},
          {"prefill_tokens_per_second", rounded(s.prefill)},
          {"decode_tokens_per_second", rounded(s.decode)}};
}

ordered_json speed_json(const SpeedBefore& s) {
  ordered_json j = {{"threads", s.threads}, {"ctx", s.ctx}, {"original", speed_json(s.original)}};
  if (s.pruned) j["pruned"] = speed_json(*s.pruned);
  return j;
}

ordered_json target_json(const TargetResult& t) {
  ordered_json j = {{"target", t.target}, {"scheme", t.scheme}};
  if (!t.plan.empty()) j["plan"] = t.plan;
  j["files"] = ordered_json::array();
  for (const FileEntry& f : t.files) j["files"].push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  j["bytes"] = t.bytes;
  j["bpw"] = {{"all", t.bpw.all}, {"body", t.bpw.body}, {"embedding", t.bpw.embedding}};
  j["arithmetic"] = t.arithmetic;
  if (t.runtime.any()) j["runtime"] = to_json(t.runtime);
  if (t.verification) {
    j["metrics"] = metrics_json(*t.verification);
    j["sites"] = ordered_json::array();
    for (const SiteError& s : t.verification->sites)
      j["sites"].push_back({{"name", s.name}, {"type", s.type}, {"relative_error", s.relative}});
  }
  if (t.alternative)
    j["alternative_arithmetic"] = {{"arithmetic", t.alternative->arithmetic},
                                   {"metrics", metrics_json(t.alternative->verification)}};
  if (t.second) j["second_text"] = {{"metrics", metrics_json(*t.second)}};
  if (t.unadapted) j["without_adapter"] = {{"metrics", metrics_json(*t.unadapted)}};
  if (!t.calibrated.empty()) j["calibration"] = calibration_json(t.calibrated);
  j["gate"] = {{"passed", t.gate.passed}, {"missed", t.gate.missed}};
  if (t.allocation) j["budget"] = to_json(*t.allocation);
  if (t.speed) j["speed"] = speed_json(*t.speed);
  if (!t.distilled.is_null()) j["distilled"] = t.distilled;
  if (!t.continuations.is_null()) j["continuations"] = t.continuations;
  j["remarks"] = t.remarks;
  return j;
}

ordered_json source_json(const SourceIdentity& s) {
  ordered_json j = {{"name", s.name}};
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) j[key] = value;
  };
  add("hub_id", s.hub_id);
  add("revision", s.revision);
  if (!s.base_models.empty()) j["base_model"] = s.base_models;
  add("license", s.license);
  add("license_name", s.license_name);
  add("license_link", s.license_link);
  add("license_said_by", s.license_said_by);
  if (!s.languages.empty()) j["language"] = s.languages;
  return j;
}

// Paths of this machine mean nothing on another.
Recipe portable(Recipe r) {
  for_files(r, [](const RecipeFile& f) {
    if (f.file.is_absolute()) f.file = f.file.filename();
  });
  return r;
}

// Cells of one row; columns are padded to their widest cell.
using Row = std::vector<std::string>;

// Characters, not bytes: continuation bytes of UTF-8 take no room.
size_t width(const std::string& s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string aligned(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const Row& r : rows)
    for (size_t i = 0; i < r.size(); ++i) widths[i] = std::max(widths[i], width(r[i]));
  std::string text;
  for (const Row& r : rows) {
    std::string line;
    for (size_t i = 0; i < r.size(); ++i) {
      const std::string pad(widths[i] - width(r[i]), ' ');
      line += i < 2 ? r[i] + pad : pad + r[i];  // names to the left, numbers to the right
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string speed_table(const Report& r) {
  std::vector<Row> rows = {{fmt::format("tokens per second on {} threads", r.speed->threads), "arithmetic",
                            fmt::format("prefill {}", r.speed->ctx), "decode"}};
  for (const SpeedRow& row : speed_rows(r)) rows.push_back({row.what, row.arithmetic, row.prefill, row.decode});
  return aligned(rows);
}

}  // namespace

std::vector<SpeedRow> speed_rows(const Report& r) {
  std::vector<SpeedRow> rows;
  if (!r.speed) return rows;
  const auto add = [&](std::string what, const Speed& s) {
    const auto shown = [](double x) { return x < 100 ? fmt::format("{:.1f}", x) : grouped(fmt::format("{:.0f}", x)); };
    rows.push_back({std::move(what), s.arithmetic, shown(s.prefill), shown(s.decode)});
  };
  add("original", r.speed->original);
  if (r.speed->pruned) add("pruned", *r.speed->pruned);
  for (const TargetResult& t : r.targets)
    if (t.speed) add(t.target + ":" + t.scheme, *t.speed);
  return rows;
}

ordered_json to_json(const RuntimeSettings& s) {
  ordered_json j = ordered_json::object();
  if (s.flash_attention) j["flash_attention"] = *s.flash_attention ? "on" : "off";
  if (!s.kv_cache.empty()) j["kv_cache"] = s.kv_cache;
  return j;
}

bool Report::passed() const {
  return std::all_of(targets.begin(), targets.end(), [](const TargetResult& t) { return t.gate.passed; });
}

Report report_of(const Report& all, size_t target, const std::string& folder) {
  Report r = all;
  r.targets = {all.targets[target]};
  for (FileEntry& f : r.targets[0].files)
    f.name = std::filesystem::path(f.name).lexically_relative(folder.empty() ? "." : folder).string();
  if (r.recipe) r.recipe->targets = {r.recipe->targets[target]};
  return r;
}

std::string phase_text(const ordered_json& phase) {
  const auto kl = [&](const char* key) { return phase.at(key).at("kl").get<double>(); };
  if (!phase.contains("held_out_after")) return "";
  std::string text = fmt::format("KL on the held-out windows {:.4g} ± {:.2g}, before {:.4g}", kl("held_out_after"),
                                 phase["held_out_after"]["stderr"].get<double>(), kl("held_out_before"));
  if (phase.contains("held_out_without"))
    text +=
        fmt::format(", without the adapter (of rank {}) {:.4g}", phase["rank"].get<int64_t>(), kl("held_out_without"));
  if (phase.contains("second_text_after"))
    text +=
        fmt::format("; on the second text {:.4g}, before {:.4g}", kl("second_text_after"), kl("second_text_before"));
  return text;
}

std::string window_rule(const EvalOptions& e, bool bos, bool documents) {
  if (documents)
    return fmt::format(
        "consecutive windows of {} tokens of the documents back to back, each begun as the tokenizer or the chat "
        "template "
        "begins it, at most {}, after skipping {} tokens; each position but the last of a window is scored",
        e.ctx, e.windows, e.skip_tokens);
  return fmt::format(
      "consecutive windows of {}{} tokens of the text's ids without special tokens, at most {}, after "
      "skipping {} tokens; each position but the last of a window is scored",
      bos ? "BOS + " : "", bos ? e.ctx - 1 : e.ctx, e.windows, e.skip_tokens);
}

Measurement measurement_of(const TargetResult& t) {
  return {.bytes = t.bytes, .bpw = t.bpw, .verification = t.verification ? &*t.verification : nullptr};
}

ordered_json to_json(const Report& r) {
  ordered_json j = {{"kerf", version()}, {"kernels", name_of(isa())}, {"model", r.model}, {"parameters", r.parameters}};
  if (!r.source.name.empty()) j["source"] = source_json(r.source);
  if (r.recipe) j["recipe"] = to_json(portable(*r.recipe));
  for (const InputFile& f : r.inputs)
    j["inputs"].push_back({{"key", f.key}, {"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  if (!r.repacked_from.empty()) j["repacked_from"] = r.repacked_from;
  if (!r.eval.text.empty())
    j["eval"] = {{"text", text_name(r.eval.text.filename())},
                 {"ctx", r.eval.ctx},
                 {"windows", r.eval.windows},
                 {"skip_tokens", r.eval.skip_tokens},
                 {"window_rule", window_rule(r.eval, r.windows_have_bos, r.windows_of_documents)}};
  if (!r.eval.second_text.empty()) j["eval"]["second_text"] = text_name(r.eval.second_text.filename());
  if (!r.pruned.is_null()) {
    j["pruned"] = r.pruned;
    if (r.pruned_model) j["pruned"]["metrics"] = metrics_json(*r.pruned_model);
  }
  if (r.speed) j["speed"] = speed_json(*r.speed);
  j["targets"] = ordered_json::array();
  const Gate gate = parse_gate(r.gate);
  for (const TargetResult& t : r.targets) {
    j["targets"].push_back(target_json(t));
    ordered_json& limits = j["targets"].back()["gate"]["limits"];
    limits = ordered_json::array();
    for (const Limit& l : gate.limits) limits.push_back(l.text);
  }
  j["differences"] = ordered_json::array();
  for (size_t a = 0; a < r.targets.size(); ++a)
    for (size_t b = a + 1; b < r.targets.size(); ++b) {
      if (!r.targets[a].verification || !r.targets[b].verification) continue;
      const Difference d =
          paired_difference(r.targets[a].verification->comparison, r.targets[b].verification->comparison);
      j["differences"].push_back({{"a", r.targets[a].target + ":" + r.targets[a].scheme},
                                  {"b", r.targets[b].target + ":" + r.targets[b].scheme},
                                  {"kl", d.kl},
                                  {"kl_stderr", d.kl_stderr},
                                  {"log_ppl", d.nll},
                                  {"log_ppl_stderr", d.nll_stderr},
                                  {"top1", d.top1},
                                  {"top1_stderr", d.top1_stderr}});
    }
  j["passed"] = r.passed();
  return j;
}

std::string to_table(const Report& r) {
  Row heading = {"target", "file"};
  for (const Metric& m : all_metrics())
    if (!m.column.empty()) heading.emplace_back(m.column);
  heading.emplace_back("gate");
  std::vector<Row> rows = {std::move(heading)};
  for (const TargetResult& t : r.targets) {
    Row row = {t.target + ":" + t.scheme, t.files.empty() ? "" : t.files[0].name};
    for (const Metric& m : all_metrics()) {
      if (m.column.empty()) continue;
      const std::string cell = shown(m, measurement_of(t));
      row.push_back(m.unit == Unit::bytes ? grouped(cell) : cell);
    }
    row.push_back(r.gate.empty() ? "-" : t.gate.passed ? "pass" : "MISSED");
    rows.push_back(std::move(row));
  }
  std::string text = aligned(rows);
  for (const TargetResult& t : r.targets) {
    const auto lost = [&](const Verification& v, const std::string& where) {
      if (v.comparison.lost_mass > 0)
        text += t.target + ":" + t.scheme + ":" + where +
                filled_in(
                    " {lost_mass} ± {lost_mass_stderr} of the original's probability is on tokens that are gone; the "
                    "figures are of the others\n",
                    {.verification = &v});
    };
    if (t.verification) lost(*t.verification, "");
    if (t.second)
      text += fmt::format("{}:{}: on {} ", t.target, t.scheme, text_name(r.eval.second_text.filename())) +
              filled_in("ppl {ppl_packed}, ratio {ppl_ratio}, KL mean {kl_mean} ± {kl_stderr}, top-1 {top1}\n",
                        {.verification = &*t.second});
    if (t.second) lost(*t.second, fmt::format(" on {}", text_name(r.eval.second_text.filename())));
    if (t.unadapted)
      text += fmt::format("{}:{}: ", t.target, t.scheme) +
              filled_in("without its adapter ppl {ppl_packed}, KL mean {kl_mean} ± {kl_stderr}, top-1 {top1}\n",
                        {.verification = &*t.unadapted});
    for (const auto& phase : t.distilled.is_null() ? ordered_json::array() : t.distilled["phases"])
      if (const std::string gained = phase_text(phase); !gained.empty())
        text += fmt::format("{}:{}: {} trained in {} steps: {}\n", t.target, t.scheme,
                            phase["phase"].get<std::string>(), phase["steps"].get<int64_t>(), gained);
    if (!t.continuations.is_null())
      text += fmt::format(
          "{}:{}: {:.0f} % of the {} tokens that it writes by itself are the original's, until they part (texts in the "
          "report)\n",
          t.target, t.scheme, 100 * t.continuations["agree"].get<double>(), t.continuations["tokens"].get<int64_t>());
  }
  if (r.pruned_model)
    text += filled_in(
        std::string(r.pruned.contains("zeros_after") ? "pruned, before zeros and packing" : "pruned, before packing") +
            ": ppl {ppl_packed}, ratio {ppl_ratio}, KL mean {kl_mean} ± {kl_stderr}, "
            "top-1 {top1}\n",
        {.verification = &*r.pruned_model});
  if (r.speed) text += speed_table(r);
  std::vector<std::string> settings;  // each once
  for (const TargetResult& t : r.targets)
    if (t.verification && t.runtime.any()) settings.push_back(fmt::format("{}: {}\n", t.target, to_text(t.runtime)));
  settings.erase(std::unique(settings.begin(), settings.end()), settings.end());
  for (const std::string& line : settings) text += line;
  for (const TargetResult& t : r.targets)
    if (t.alternative)
      text +=
          fmt::format("{}:{} above: {}. By {}: {}\n", t.target, t.scheme, t.arithmetic, t.alternative->arithmetic,
                      filled_in("ppl {ppl_packed}, ratio {ppl_ratio}, KL mean {kl_mean} ± {kl_stderr}, top-1 {top1}",
                                {.verification = &t.alternative->verification}));
  for (const TargetResult& t : r.targets)
    for (const std::string& missed : t.gate.missed)
      text += fmt::format("{}:{} missed {}\n", t.target, t.scheme, missed);
  return text;
}

}  // namespace kerf
