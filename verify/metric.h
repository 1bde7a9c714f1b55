// Metrics: the figures that a measurement of packed files gives, each described once. Gates, reports, tables and model
// cards walk this table; a new metric is one entry of it (docs/adding.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "verify/artifact.h"
#include "verify/verify.h"

namespace kerf {

/// What metrics are read from.
struct Measurement {
  uint64_t bytes = 0;  // of the files that hold weights
  BitsPerWeight bpw;
  const Verification* verification = nullptr;  // nullptr: the accuracy was not measured
};

enum class Better { lower, higher, neither };
enum class Unit {
  bytes,
  bits,        // per weight
  perplexity,  // e^nat
  nats,        // per token
  share,       // of 1
  ratio,
};

struct Metric {
  std::string_view name;    // in gates
  std::string_view alias;   // a shorter word for it there; "": none
  std::string_view key;     // in "metrics" of kerf-report.json; "": it stands elsewhere
  std::string_view column;  // its heading in the table for people; "": it is not in it
  Better better = Better::lower;
  Unit unit = Unit::ratio;
  const char* format = "{}";       // fmt's, of a double; of bytes, of a uint64_t
  bool needs_verification = true;  // it is measured on a text
  double (*get)(const Measurement&) = nullptr;
};

/// In the order of reports and tables. Names and aliases differ.
std::span<const Metric> all_metrics();
/// By name or alias; nullptr when there is none.
const Metric* find_metric(std::string_view name);

/// In the metric's format. "-" when it needs a verification and there is none.
std::string shown(const Metric&, const Measurement&);
/// The text with each "{name}" replaced by that metric, shown. Error internal for a name that is no metric's.
std::string filled_in(std::string_view text, const Measurement&);
/// All that were measured, by name.
std::map<std::string, double> figures(const Measurement&);

}  // namespace kerf
