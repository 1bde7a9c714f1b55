#include "pipeline/report/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cpu.h"
#include "core/version.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;

ordered_json metrics_json(const Comparison& c) {
  return {{"tokens", c.tokens},
          {"windows", c.windows},
          {"ppl_reference", c.ppl_reference},
          {"ppl_reference_stderr", c.ppl_reference_stderr},
          {"ppl", c.ppl},
          {"ppl_stderr", c.ppl_stderr},
          {"ppl_ratio", c.ppl_ratio},
          {"ppl_ratio_stderr", c.ppl_ratio_stderr},
          {"kl_mean", c.kl_mean},
          {"kl_stderr", c.kl_stderr},
          {"kl_median", c.kl_median},
          {"kl_p99", c.kl_p99},
          {"kl_max", c.kl_max},
          {"top1", c.top1},
          {"top1_stderr", c.top1_stderr}};
}

ordered_json calibration_json(const std::vector<SiteOutcome>& outcomes) {
  ordered_json list = ordered_json::array();
  for (const SiteOutcome& o : outcomes)
    list.push_back({{"name", o.name},
                    {"method", o.method},
                    {"relative_error_rtn", o.error_rtn},
                    {"relative_error", o.error},
                    {"alpha", o.alpha},
                    {"damping", o.damping},
                    {"asymmetric_strength", o.asymmetric_strength},
                    {"dead_channels", o.dead}});
  return list;
}

ordered_json target_json(const TargetResult& t) {
  ordered_json j = {{"target", t.target}, {"scheme", t.scheme}};
  if (!t.plan.empty()) j["plan"] = t.plan;
  j["files"] = ordered_json::array();
  for (const FileEntry& f : t.files) j["files"].push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  j["bytes"] = t.bytes;
  j["bpw"] = {{"all", t.bpw.all}, {"body", t.bpw.body}, {"embedding", t.bpw.embedding}};
  j["arithmetic"] = t.arithmetic;
  if (t.verification) {
    j["metrics"] = metrics_json(t.verification->comparison);
    j["sites"] = ordered_json::array();
    for (const SiteError& s : t.verification->sites)
      j["sites"].push_back({{"name", s.name}, {"type", s.type}, {"relative_error", s.relative}});
  }
  if (t.alternative)
    j["alternative_arithmetic"] = {{"arithmetic", t.alternative->arithmetic},
                                   {"metrics", metrics_json(t.alternative->verification.comparison)}};
  if (!t.calibrated.empty()) j["calibration"] = calibration_json(t.calibrated);
  j["gate"] = {{"passed", t.gate.passed}, {"missed", t.gate.missed}};
  if (t.allocation) {
    j["budget"] = {{"bytes", t.allocation->bytes}, {"predicted_kl", t.allocation->kl}};
    j["budget"]["curve"] = ordered_json::array();
    for (const Budget::Point& p : t.allocation->curve)
      j["budget"]["curve"].push_back({{"bytes", p.bytes}, {"predicted_kl", p.cost}});
  }
  j["remarks"] = t.remarks;
  return j;
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

std::string thousands(uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

}  // namespace

bool Report::passed() const {
  return std::all_of(targets.begin(), targets.end(), [](const TargetResult& t) { return t.gate.passed; });
}

std::string window_rule(const EvalOptions& e) {
  return fmt::format(
      "consecutive windows of BOS + {} tokens of the text's ids without special tokens, at most {}, after "
      "skipping {} tokens; each position but the last of a window is scored",
      e.ctx - 1, e.windows, e.skip_tokens);
}

std::map<std::string, double> figures(const TargetResult& t) {
  std::map<std::string, double> f = {{"bytes", static_cast<double>(t.bytes)},
                                     {"bpw_all", t.bpw.all},
                                     {"bpw_body", t.bpw.body},
                                     {"bpw_embedding", t.bpw.embedding}};
  if (!t.verification) return f;
  const Comparison& c = t.verification->comparison;
  f.insert({{"kl_mean", c.kl_mean},
            {"kl_stderr", c.kl_stderr},
            {"kl_median", c.kl_median},
            {"kl_p99", c.kl_p99},
            {"kl_max", c.kl_max},
            {"ppl_ratio", c.ppl_ratio},
            {"ppl_packed", c.ppl},
            {"ppl_reference", c.ppl_reference},
            {"top1", c.top1}});
  double worst = 0;
  for (const SiteError& s : t.verification->sites) worst = std::max(worst, s.relative);
  f["site_error_max"] = worst;
  return f;
}

ordered_json to_json(const Report& r) {
  ordered_json j = {{"kerf", version()}, {"kernels", name_of(isa())}, {"model", r.model}, {"parameters", r.parameters}};
  if (r.recipe) j["recipe"] = to_json(*r.recipe);
  if (!r.repacked_from.empty()) j["repacked_from"] = r.repacked_from;
  if (!r.eval.text.empty())
    j["eval"] = {{"text", r.eval.text.filename().string()},
                 {"ctx", r.eval.ctx},
                 {"windows", r.eval.windows},
                 {"skip_tokens", r.eval.skip_tokens},
                 {"window_rule", window_rule(r.eval)}};
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
  std::vector<Row> rows = {{"target", "file", "bytes", "bpw all", "body", "embed", "ppl ref", "ppl", "ratio", "KL mean",
                            "± s.e.", "top-1", "gate"}};
  for (const TargetResult& t : r.targets) {
    Row row = {t.target + ":" + t.scheme,
               t.files.empty() ? "" : t.files[0].name,
               thousands(t.bytes),
               fmt::format("{:.3f}", t.bpw.all),
               fmt::format("{:.3f}", t.bpw.body),
               fmt::format("{:.3f}", t.bpw.embedding)};
    if (t.verification) {
      const Comparison& c = t.verification->comparison;
      row.insert(row.end(), {fmt::format("{:.4f}", c.ppl_reference), fmt::format("{:.4f}", c.ppl),
                             fmt::format("{:.4f}", c.ppl_ratio), fmt::format("{:.6f}", c.kl_mean),
                             fmt::format("{:.6f}", c.kl_stderr), fmt::format("{:.4f}", c.top1)});
    } else {
      row.insert(row.end(), 6, "-");
    }
    row.push_back(r.gate.empty() ? "-" : t.gate.passed ? "pass" : "MISSED");
    rows.push_back(std::move(row));
  }
  std::string text = aligned(rows);
  for (const TargetResult& t : r.targets) {
    if (!t.alternative) continue;
    const Comparison& c = t.alternative->verification.comparison;
    text += fmt::format("{}:{} above: {}. By {}: ppl {:.4f}, ratio {:.4f}, KL mean {:.6f} ± {:.6f}, top-1 {:.4f}\n",
                        t.target, t.scheme, t.arithmetic, t.alternative->arithmetic, c.ppl, c.ppl_ratio, c.kl_mean,
                        c.kl_stderr, c.top1);
  }
  for (const TargetResult& t : r.targets)
    for (const std::string& missed : t.gate.missed)
      text += fmt::format("{}:{} missed {}\n", t.target, t.scheme, missed);
  return text;
}

}  // namespace kerf
