#include "verify/gate.h"

#include "core/error.h"
#include "core/units.h"
#include "verify/metric.h"

namespace kerf {
namespace {

const Metric& metric_called(std::string_view name) {
  if (const Metric* m = find_metric(name)) return *m;
  std::string shorter, names;
  for (const Metric& m : all_metrics()) {
    if (!m.alias.empty()) shorter += fmt::format("{} ({}), ", m.alias, m.name);
    names += fmt::format("{}{}", names.empty() ? "" : ", ", m.name);
  }
  fail(ErrorKind::usage, "a gate cannot limit '{}'; the metrics are: {}{}", name, shorter, names);
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// What a number counts that a suffix follows.
double unit(std::string_view suffix, const Metric& metric, std::string_view limit) {
  if (suffix.empty()) return 1;
  if (suffix == "%") {
    if (metric.unit == Unit::share || metric.unit == Unit::ratio) return 0.01;
    fail(ErrorKind::usage, "the gate '{}' gives a percentage for {}, which is no share of something", limit,
         metric.name);
  }
  const auto bytes = bytes_of_unit(suffix);
  if (!bytes)
    fail(ErrorKind::usage, "the gate '{}' ends in '{}'; a number may end in {}, or in %", limit, suffix, size_units());
  if (metric.unit != Unit::bytes)
    fail(ErrorKind::usage, "the gate '{}' gives a size for {}, which does not count bytes", limit, metric.name);
  return *bytes;
}

Limit parse_limit(std::string_view text) {
  const size_t at = text.find_first_of("<>");
  if (at == std::string_view::npos || at == 0)
    fail(ErrorKind::usage, "the gate '{}' is not METRIC<NUMBER or METRIC>NUMBER, such as kl<0.05", text);
  const Metric& metric = metric_called(trim(text.substr(0, at)));
  Limit limit{.metric = std::string(metric.name), .below = text[at] == '<', .text = std::string(text)};
  std::string_view number = text.substr(at + 1);
  if (number.starts_with('=')) {
    limit.strict = false;
    number.remove_prefix(1);
  }
  const auto n = number_and_unit(number);
  if (!n) fail(ErrorKind::usage, "the gate '{}' has no number after {}", text, text[at]);
  limit.value = n->number * unit(n->unit, metric, text);
  return limit;
}

}  // namespace

Gate parse_gate(std::string_view text) {
  Gate gate;
  while (!trim(text).empty()) {
    const size_t comma = text.find(',');
    gate.limits.push_back(parse_limit(trim(text.substr(0, comma))));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return gate;
}

std::vector<std::string> remarks_on(const Gate& gate) {
  std::vector<std::string> remarks;
  constexpr double kSmallest = 2;  // no language model has less over a text worth measuring on
  for (const Limit& limit : gate.limits)
    if (limit.metric == "ppl_packed" && limit.value < kSmallest)
      remarks.push_back(
          fmt::format("the gate '{}' limits the perplexity itself, as the column ppl has it; its ratio to the "
                      "original's, which ppl "
                      "meant in gates of kerf up to 0.1.0, is ppl_ratio",
                      limit.text));
  return remarks;
}

void check_measured(const Gate& gate, const std::set<std::string>& metrics) {
  for (const Limit& limit : gate.limits)
    if (!metrics.contains(limit.metric))
      fail(ErrorKind::usage, "the gate '{}' needs {}, which is not measured; give --text to measure it", limit.text,
           limit.metric);
}

std::set<std::string> metrics_without_text() {
  std::set<std::string> names;
  for (const Metric& m : all_metrics())
    if (!m.needs_verification) names.emplace(m.name);
  return names;
}

GateResult check_gate(const Gate& gate, const std::map<std::string, double>& figures) {
  GateResult result;
  std::set<std::string> measured;
  for (const auto& [metric, x] : figures) measured.insert(metric);
  check_measured(gate, measured);
  for (const Limit& limit : gate.limits) {
    const double x = figures.at(limit.metric);
    const bool inside = limit.below ? (limit.strict ? x < limit.value : x <= limit.value)
                                    : (limit.strict ? x > limit.value : x >= limit.value);
    if (inside) continue;
    result.passed = false;
    result.missed.push_back(fmt::format("{}: measured {:.6g}", limit.text, x));
  }
  return result;
}

}  // namespace kerf
