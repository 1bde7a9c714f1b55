// Gates: limits on measured figures, such as "kl<0.05,ppl_ratio<1.03,top1>0.9,bytes<90MB".
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

struct Limit {
  std::string metric;  // canonical: "kl_mean", "ppl_packed", "top1", "bytes", ...
  bool below = true;   // "<" or "<=": the figure may be at most `value`; else at least
  bool strict = true;  // "<" and ">" exclude the value itself
  double value = 0;
  std::string text;  // as it was given
};

struct Gate {
  std::vector<Limit> limits;
};

/// Limits separated by commas: METRIC (<|<=|>|>=) NUMBER[UNIT], with a metric of verify/metric.h by its name or alias
/// (kl, ppl, ratio, bpw); UNIT is one of core/units.h for bytes, % for shares and ratios. Error usage, with the known
/// metrics, for anything else.
Gate parse_gate(std::string_view text);
/// What people may have meant otherwise: a limit below 2 on the perplexity itself is probably one of its ratio.
std::vector<std::string> remarks_on(const Gate&);

/// Error usage when it limits a metric that is not among these.
void check_measured(const Gate&, const std::set<std::string>& metrics);
/// Those that are known of files alone.
std::set<std::string> metrics_without_text();

struct GateResult {
  bool passed = true;
  std::vector<std::string> missed;  // "kl<0.05: measured 0.0712"
};

/// `figures` by canonical metric name. Error usage when a limited metric was not measured. A NaN misses every limit.
GateResult check_gate(const Gate&, const std::map<std::string, double>& figures);

}  // namespace kerf
