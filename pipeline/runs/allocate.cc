// Bytes are exact: those of the file without matrices, and of each matrix with its padding.
#include "pipeline/runs/allocate.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "formats/gguf.h"
#include "grids/grid.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/calibrate/sensitivity.h"
#include "pipeline/plan/plan.h"
#include "pipeline/repository/repository.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {

constexpr int64_t kProbeTokens = 2048;
// Rows of a matrix, spread over it, whose errors stand for all: their mean is then known to a few percent.
constexpr int64_t kSampledRows = 128;
// The relative squared error of a probe: about that of 3 bits. Far above what is rounded away in a forward pass, small
// enough for the loss to grow with the square.
constexpr double kProbeError = 0.02;
constexpr size_t kCurvePoints = 64;

struct Candidate {
  std::string scheme;
  Storage storage;
  uint64_t bytes = 0;
  double error = 0;  // relative, squared
};

struct Matrix {
  Site site;
  std::vector<float> importance;  // empty: all alike
  std::vector<Candidate> candidates;

  const Candidate& probe() const {
    return *std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      return distance(a.error) < distance(b.error);
    });
  }

 private:
  static double distance(double error) { return error > 0 ? std::abs(std::log(error / kProbeError)) : 1e9; }
};

std::vector<float> rounded(const Matrix& m, const Storage& s, const std::vector<float>& w, int64_t rows) {
  std::vector<float> values = w;
  if (!s.layout) {
    round_to(s.dense, values);
    return values;
  }
  Statistics known{Hessian(0)};
  known.importance = m.importance;
  const QuantizedMatrix q =
      find_quantizer("rtn").quantize(w, rows, m.site.in, s.scheme, m.importance.empty() ? nullptr : &known, {});
  find_grid(s.scheme.grid).decode(q, values);
  return values;
}

double relative_error(const Matrix& m, const std::vector<float>& w, const std::vector<float>& values) {
  double error = 0, all = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const auto column = static_cast<int64_t>(i) % m.site.in;
    const double weight = m.importance.empty() ? 1 : static_cast<double>(m.importance[static_cast<size_t>(column)]);
    const double x = static_cast<double>(w[i]), d = x - static_cast<double>(values[i]);
    error += weight * d * d;
    all += weight * x * x;
  }
  return all > 0 ? error / all : 0;
}

std::vector<float> sampled_rows(const TensorSource& source, const Site& site, int64_t* rows) {
  *rows = std::min(site.out, kSampledRows);
  std::vector<float> w(static_cast<size_t>(*rows * site.in));
  for (int64_t i = 0; i < *rows; ++i)
    source.read(*source.find(site.name), i * site.out / *rows,
                std::span(w).subspan(static_cast<size_t>(i * site.in), static_cast<size_t>(site.in)));
  return w;
}

// The schemes that a matrix may have.
std::vector<std::string> schemes_of(const TargetChoice& choice, const SiteShape& shape,
                                    std::span<const SiteOverride> given) {
  std::vector<std::string> schemes = gguf_site_schemes(shape.in);
  for (const SiteOverride& o : given)
    if (!o.scheme.empty() && concerns(o, shape.name, shape.role))
      schemes = {choice.target->canonical_of_matrix(o.scheme)};
  return schemes;
}

class Allocator {
 public:
  Allocator(const Artifact& a, const TargetChoice& choice, std::span<const SiteOverride> given, const Windows& windows)
      : source_(a), choice_(choice), windows_(windows) {
    if (windows_.tokens() > kProbeTokens) {
      windows_.count = std::max<int64_t>(1, kProbeTokens / windows_.length);
      windows_.ids.resize(static_cast<size_t>(windows_.tokens()));
    }
    const Architecture& arch = a.architecture;
    const SiteStatistics inputs = statistics_of(arch, measure_imatrix(a, windows_), "the calibration text");
    add(arch.embedding(), {}, given);
    if (!arch.tied) add(arch.head(), {}, given);
    for (int64_t layer = 0; layer < arch.layers; ++layer)
      for (const Site& site : arch.block_sites(layer)) add(site, inputs.at(site.name).importance, given);
  }

  // Predicted KL of every candidate.
  std::vector<BudgetItem> items() const {
    std::vector<Probe> probes;
    for (const Matrix& m : matrices_)
      probes.push_back({m.site, [this, &m] {
                          std::vector<float> w(static_cast<size_t>(m.site.out * m.site.in));
                          source_.weights->read(*source_.weights->find(m.site.name), 0, w);
                          return rounded(m, m.probe().storage, w, m.site.out);
                        }});
    const std::vector<double> kl = probe_kl(source_.architecture, *source_.weights, probes, windows_);
    std::vector<BudgetItem> items;
    for (size_t i = 0; i < matrices_.size(); ++i) {
      BudgetItem& item = items.emplace_back();
      const double error = matrices_[i].probe().error;
      for (const Candidate& c : matrices_[i].candidates)
        item.push_back({c.bytes, error > 0 ? kl[i] / error * c.error : 0});
    }
    return items;
  }

  std::vector<SiteOverride> overrides(std::span<const size_t> options) const {
    std::vector<SiteOverride> all;
    for (size_t i = 0; i < matrices_.size(); ++i)
      all.push_back({.sites = {matrices_[i].site.name}, .scheme = matrices_[i].candidates[options[i]].scheme});
    return all;
  }

  std::string most_frequent(std::span<const size_t> options) const {
    std::map<std::string, int64_t> weights;
    for (size_t i = 0; i < matrices_.size(); ++i)
      weights[matrices_[i].candidates[options[i]].scheme] += matrices_[i].site.out * matrices_[i].site.in;
    return std::max_element(weights.begin(), weights.end(), [](auto& a, auto& b) { return a.second < b.second; })
        ->first;
  }

 private:
  void add(const Site& site, std::vector<float> importance, std::span<const SiteOverride> given) {
    Matrix m{.site = site, .importance = std::move(importance)};
    SiteShape shape = shape_of(source_.architecture, site);
    shape.importance = true;
    int64_t rows = 0;
    const std::vector<float> w = sampled_rows(*source_.weights, site, &rows);
    constexpr uint64_t alignment = kGgufDefaultAlignment;
    for (const std::string& scheme : schemes_of(choice_, shape, given)) {
      Candidate c{.scheme = scheme, .storage = choice_.target->storage(scheme, shape, source_.architecture.dtype)};
      if (c.storage.layout)
        for (const LayoutTensor& t : c.storage.layout->plan(c.storage.scheme, site.out, site.in))
          c.bytes += round_up(t.bytes, alignment);
      else
        c.bytes = round_up(static_cast<uint64_t>(bytes_of(c.storage.dense, site.out * site.in)), alignment);
      m.candidates.push_back(std::move(c));
    }
    parallel_for(static_cast<int64_t>(m.candidates.size()), [&](int64_t i) {
      Candidate& c = m.candidates[static_cast<size_t>(i)];
      c.error = relative_error(m, w, rounded(m, c.storage, w, rows));
    });
    matrices_.push_back(std::move(m));
  }

  const Artifact& source_;
  const TargetChoice& choice_;
  Windows windows_;
  std::vector<Matrix> matrices_;
};

// Some of the points, the first and the last among them.
std::vector<Budget::Point> thinned(std::vector<Budget::Point> points, uint64_t fixed) {
  for (Budget::Point& p : points) p.bytes += fixed;
  if (points.size() <= kCurvePoints) return points;
  std::vector<Budget::Point> some;
  for (size_t i = 0; i < kCurvePoints; ++i) some.push_back(points[i * (points.size() - 1) / (kCurvePoints - 1)]);
  return some;
}

}  // namespace

Allocation allocate(const Artifact& a, const TargetChoice& choice, const std::string& name,
                    std::span<const SiteOverride> given, uint64_t bytes, const Windows& windows) {
  const Repository& kind = repository_of(*choice.target);
  if (!kind.file_bytes)
    fail(ErrorKind::unsupported, "a size can be shared out for llama.cpp-cpu, not for {}", choice.target->name());
  const Allocator allocator(a, choice, given, windows);
  const std::vector<BudgetItem> items = allocator.items();
  const auto file_bytes = [&](const std::vector<SiteOverride>& overrides) {
    TargetPlan plan = make_plan(a.architecture, choice, name, false, overrides, true);
    complete(plan, a.architecture, a.tokenizer, name, 0);
    return kind.file_bytes(plan);
  };
  const std::vector<size_t> first(items.size(), 0);
  uint64_t fixed = file_bytes(allocator.overrides(first));
  for (const BudgetItem& item : items) fixed -= item[0].bytes;
  const Budget budget(items);
  const auto best = bytes > fixed ? budget.best(bytes - fixed) : std::nullopt;
  if (!best)
    fail(ErrorKind::usage, "{} cannot be stored in {} bytes; the smallest file has {}", name, bytes,
         fixed + budget.smallest());
  Allocation result{.overrides = allocator.overrides(best->options),
                    .scheme = allocator.most_frequent(best->options),
                    .bytes = fixed + best->bytes,
                    .kl = best->cost,
                    .curve = thinned(budget.curve(), fixed)};
  if (const uint64_t exact = file_bytes(result.overrides); exact != result.bytes)
    fail(ErrorKind::internal, "a file of {} bytes was planned with {}", exact, result.bytes);
  return result;
}

}  // namespace kerf
