#include "verify/gate.h"

#include <cstdlib>

#include "core/error.h"
#include "verify/metric.h"

namespace kerf {
namespace {

std::string canonical_metric(std::string_view name) {
  if (const Metric* m = find_metric(name)) return std::string(m->name);
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

double unit(std::string_view suffix, std::string_view limit) {
  constexpr std::pair<std::string_view, double> units[] = {
      {"", 1},     {"B", 1},      {"KB", 1e3},        {"kB", 1e3},           {"MB", 1e6},
      {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"%", 0.01}};
  for (const auto& [name, factor] : units)
    if (name == suffix) return factor;
  fail(ErrorKind::usage, "the gate '{}' ends in '{}'; a number may end in KB, MB, GB, KiB, MiB, GiB or %", limit,
       suffix);
}

Limit parse_limit(std::string_view text) {
  const size_t at = text.find_first_of("<>");
  if (at == std::string_view::npos || at == 0)
    fail(ErrorKind::usage, "the gate '{}' is not METRIC<NUMBER or METRIC>NUMBER, such as kl<0.05", text);
  Limit limit{
      .metric = canonical_metric(trim(text.substr(0, at))), .below = text[at] == '<', .text = std::string(text)};
  std::string_view number = text.substr(at + 1);
  if (number.starts_with('=')) {
    limit.strict = false;
    number.remove_prefix(1);
  }
  const std::string digits(trim(number));
  char* end = nullptr;
  limit.value = std::strtod(digits.c_str(), &end);
  if (end == digits.c_str() || !(limit.value == limit.value))
    fail(ErrorKind::usage, "the gate '{}' has no number after {}", text, text[at]);
  limit.value *= unit(trim(std::string_view(end)), text);
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
