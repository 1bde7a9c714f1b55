#include "verify/metric.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace kerf {
namespace {

const Comparison& comparison(const Measurement& m) { return m.verification->comparison; }

double worst_site(const Measurement& m) {
  double worst = 0;
  for (const SiteError& s : m.verification->sites) worst = std::max(worst, s.relative);
  return worst;
}

constexpr Better kLower = Better::lower, kHigher = Better::higher, kNeither = Better::neither;

constexpr Metric kMetrics[] = {
    {"bytes", "", "", "bytes", kLower, Unit::bytes, "{}", false,
     [](const Measurement& m) { return static_cast<double>(m.bytes); }},
    {"bpw_all", "bpw", "", "bpw all", kLower, Unit::bits, "{:.3f}", false,
     [](const Measurement& m) { return m.bpw.all; }},
    {"bpw_body", "", "", "body", kLower, Unit::bits, "{:.3f}", false, [](const Measurement& m) { return m.bpw.body; }},
    {"bpw_embedding", "", "", "embed", kLower, Unit::bits, "{:.3f}", false,
     [](const Measurement& m) { return m.bpw.embedding; }},
    {"ppl_reference", "", "ppl_reference", "ppl ref", kNeither, Unit::perplexity, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl_reference; }},
    {"ppl_reference_stderr", "", "ppl_reference_stderr", "", kNeither, Unit::perplexity, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl_reference_stderr; }},
    {"ppl_packed", "ppl", "ppl", "ppl", kLower, Unit::perplexity, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl; }},
    {"ppl_packed_stderr", "", "ppl_stderr", "", kLower, Unit::perplexity, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl_stderr; }},
    {"ppl_ratio", "ratio", "ppl_ratio", "ratio", kLower, Unit::ratio, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl_ratio; }},
    {"ppl_ratio_stderr", "", "ppl_ratio_stderr", "", kLower, Unit::ratio, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).ppl_ratio_stderr; }},
    {"kl_mean", "kl", "kl_mean", "KL mean", kLower, Unit::nats, "{:.6f}", true,
     [](const Measurement& m) { return comparison(m).kl_mean; }},
    {"kl_stderr", "", "kl_stderr", "± s.e.", kLower, Unit::nats, "{:.6f}", true,
     [](const Measurement& m) { return comparison(m).kl_stderr; }},
    {"kl_median", "", "kl_median", "", kLower, Unit::nats, "{:.6f}", true,
     [](const Measurement& m) { return comparison(m).kl_median; }},
    {"kl_p99", "", "kl_p99", "", kLower, Unit::nats, "{:.6f}", true,
     [](const Measurement& m) { return comparison(m).kl_p99; }},
    {"kl_max", "", "kl_max", "", kLower, Unit::nats, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).kl_max; }},
    {"top1", "", "top1", "top-1", kHigher, Unit::share, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).top1; }},
    {"top1_stderr", "", "top1_stderr", "", kLower, Unit::share, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).top1_stderr; }},
    {"lost_mass", "", "", "", kLower, Unit::share, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).lost_mass; }},
    {"lost_mass_stderr", "", "", "", kLower, Unit::share, "{:.4f}", true,
     [](const Measurement& m) { return comparison(m).lost_mass_stderr; }},
    {"site_error_max", "", "", "", kLower, Unit::ratio, "{:.6f}", true, worst_site},
};

}  // namespace

std::span<const Metric> all_metrics() { return kMetrics; }

const Metric* find_metric(std::string_view name) {
  for (const Metric& m : kMetrics)
    if (m.name == name || (!m.alias.empty() && m.alias == name)) return &m;
  return nullptr;
}

std::string shown(const Metric& metric, const Measurement& m) {
  if (metric.needs_verification && !m.verification) return "-";
  const double value = metric.get(m);
  if (metric.unit == Unit::bytes) return fmt::format(fmt::runtime(metric.format), static_cast<uint64_t>(value));
  std::string text = fmt::format(fmt::runtime(metric.format), value);
  // A zero that is less than none by its rounding.
  if (text.starts_with('-') && text.find_first_not_of("-0.") == text.npos) text.erase(0, 1);
  return text;
}

std::string filled_in(std::string_view text, const Measurement& m) {
  std::string result;
  for (;;) {
    const size_t begin = text.find('{'), end = text.find('}', begin);
    if (end == std::string_view::npos) return result.append(text);
    const std::string_view name = text.substr(begin + 1, end - begin - 1);
    const Metric* metric = find_metric(name);
    if (!metric) fail(ErrorKind::internal, "there is no metric '{}'", name);
    result.append(text.substr(0, begin)).append(shown(*metric, m));
    text.remove_prefix(end + 1);
  }
}

std::map<std::string, double> figures(const Measurement& m) {
  std::map<std::string, double> all;
  for (const Metric& metric : kMetrics)
    if (!metric.needs_verification || m.verification) all.emplace(metric.name, metric.get(m));
  return all;
}

}  // namespace kerf
