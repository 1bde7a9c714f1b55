// Bytes are exact: those of the file without matrices, and of each matrix with its padding.
#include "pipeline/runs/allocate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>

#include "core/checked.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "formats/gguf.h"
#include "grids/grid.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/calibrate/sensitivity.h"
#include "pipeline/plan/plan.h"
#include "pipeline/plan/site_pattern.h"
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
  const InputStatistics known{.importance = m.importance};
  const auto rtn = find_quantizer("rtn").prepare(m.importance.empty() ? nullptr : &known, s.scheme, {});
  const QuantizedMatrix q = rtn->quantize(w, rows, m.site.in);
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

// An override that leaves its matrices no choice.
struct Given {
  SitePatterns patterns;
  std::string scheme;  // canonical
};

class Allocator {
 public:
  // Reads no weights.
  Allocator(const Artifact& a, const TargetChoice& choice, const std::string& name, std::span<const SiteOverride> given,
            uint64_t bytes, const Windows& windows)
      : source_(a),
        choice_(choice),
        name_(name),
        windows_(first_windows(windows, windows_of_tokens(windows, kProbeTokens))) {
    if (!repository_of(*choice.target).allocates_bytes)
      fail(ErrorKind::unsupported, "a size can be allocated for llama.cpp-cpu, not for {}", choice.target->name());
    for (const SiteOverride& o : given)
      if (!o.scheme.empty()) given_.push_back({SitePatterns(o.sites), choice.target->canonical_of_matrix(o.scheme)});
    const Architecture& arch = a.architecture;
    add(arch.embedding());
    if (!arch.tied) add(arch.head());
    for (int64_t layer = 0; layer < arch.layers(); ++layer)
      for (const Site& site : arch.block_sites(layer)) add(site);
    fixed_ = file_bytes(choices(std::vector<size_t>(matrices_.size(), 0)));
    uint64_t smallest = 0;
    for (const Matrix& m : matrices_) {
      fixed_ -= m.candidates[0].bytes;
      smallest +=
          std::min_element(m.candidates.begin(), m.candidates.end(), [](const Candidate& x, const Candidate& y) {
            return x.bytes < y.bytes;
          })->bytes;
    }
    if (bytes < fixed_ + smallest)
      fail(ErrorKind::usage, "{} cannot be stored in {} bytes; the smallest file has {}", name, bytes,
           fixed_ + smallest);
  }

  AllocationWork work() const {
    const Architecture& arch = source_.architecture;
    const auto tokens = static_cast<double>(windows_.tokens());
    std::vector<double> block(static_cast<size_t>(arch.layers()));  // weights
    std::vector<Site> sites;
    for (const Matrix& m : matrices_) {
      sites.push_back(m.site);
      if (m.site.layer >= 0) block[static_cast<size_t>(m.site.layer)] += weights_of(m);
    }
    const double largest = *std::max_element(block.begin(), block.end());
    const ProbeWork work = probe_work(arch, sites);
    const double head = static_cast<double>(arch.vocab()) * static_cast<double>(arch.hidden());
    const auto width = static_cast<double>(arch.hidden() + arch.widest()),
               probes = static_cast<double>(arch.block_sites(0).size());
    // The values of a block's probes and the weights that each pass goes on with, or those of the embedding; the
    // activations of each; and the sums of the budget.
    const double memory = 4 * (2 * std::max(largest, head) + probes * tokens * 4 * width) +
                          24 * 16384 * std::sqrt(static_cast<double>(matrices_.size()));
    return {.matrices = static_cast<int64_t>(matrices_.size()),
            .tokens = windows_.tokens(),
            .passes = 1 + work.passes,  // once for the mean squares
            .products = 2 * tokens * (std::accumulate(block.begin(), block.end(), 0.0) + work.products),
            .memory = static_cast<uint64_t>(memory)};
  }

  // Of rounding a sample of every matrix in every candidate on all threads, and each whole matrix once, in a type of
  // about 3 bits, on one. A type's pace is measured now, on a few thousand weights.
  double rounding_seconds() const {
    std::map<std::string, double> per_weight;
    double seconds = 0;
    for (const Matrix& m : matrices_) {
      const double sampled = static_cast<double>(std::min(m.site.out, kSampledRows)) * static_cast<double>(m.site.in);
      double probe = 0, probes = 0;
      for (const Candidate& c : m.candidates) {
        const auto at = per_weight.try_emplace(c.scheme, -1.0).first;
        if (at->second < 0) at->second = seconds_per_weight(c);
        seconds += sampled * at->second / threads();
        const double bits = 8 * static_cast<double>(c.bytes) / weights_of(m);
        if (m.candidates.size() > 1 && (bits < 3 || bits > 3.6)) continue;
        probe += at->second;
        ++probes;
      }
      if (probes > 0) seconds += weights_of(m) * probe / probes;
    }
    return seconds;
  }

  // Predicted KL of every candidate.
  std::vector<BudgetItem> items() {
    const AllocationWork w = work();
    note(fmt::format("measuring what each of {} matrices is worth, on {} tokens: as much as {:.0f} passes of the model",
                     w.matrices, w.tokens, w.passes));
    weigh();
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

  std::vector<SiteChoice> choices(std::span<const size_t> options) const {
    std::vector<SiteChoice> all;
    for (size_t i = 0; i < matrices_.size(); ++i) {
      const Candidate& c = matrices_[i].candidates[options[i]];
      all.push_back({.name = matrices_[i].site.name, .scheme = c.scheme, .bytes = c.bytes});
    }
    return all;
  }

  std::string most_frequent(std::span<const size_t> options) const {
    std::map<std::string, int64_t> weights;
    for (size_t i = 0; i < matrices_.size(); ++i)
      weights[matrices_[i].candidates[options[i]].scheme] += matrices_[i].site.out * matrices_[i].site.in;
    return std::max_element(weights.begin(), weights.end(), [](auto& a, auto& b) { return a.second < b.second; })
        ->first;
  }

  // Of the whole file.
  uint64_t file_bytes(std::vector<SiteChoice> sites) const {
    const Architecture& a = source_.architecture;
    const TargetChoice mixed{choice_.target, std::string(kMixedScheme)};
    TargetPlan plan = make_plan(a, mixed, name_, false, Allocation{.sites = std::move(sites)}.overrides(), true);
    complete(plan, source_.architecture, source_, name_, 0);
    return kerf::file_bytes(plan);
  }
  // Of what is not a matrix.
  uint64_t fixed() const { return fixed_; }

 private:
  static double seconds_per_weight(const Candidate& c) {
    constexpr int64_t kCols = 256, kRows = 32;
    Matrix m{.site = {.in = kCols}};
    std::vector<float> w(kRows * kCols);
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] = static_cast<float>(static_cast<int>(i * 7919 % 2003) - 1001) * 1e-4f;
      if (i < kCols) m.importance.push_back(static_cast<float>(1 + i % 13));
    }
    rounded(m, c.storage, std::vector<float>(w.begin(), w.begin() + kCols), 1);  // the first makes tables
    const auto begin = std::chrono::steady_clock::now();
    rounded(m, c.storage, w, kRows);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
           static_cast<double>(w.size());
  }
  static double weights_of(const Matrix& m) { return static_cast<double>(m.site.out) * static_cast<double>(m.site.in); }

  // The schemes that a matrix may have.
  std::vector<std::string> schemes_of(const SiteShape& shape) const {
    std::vector<std::string> schemes = gguf_site_schemes(shape.in);
    for (const Given& g : given_)
      if (g.patterns.fit(shape.name, shape.role)) schemes = {g.scheme};
    return schemes;
  }

  void add(const Site& site) {
    Matrix m{.site = site};
    SiteShape shape = shape_of(source_.architecture, site);
    shape.importance = true;
    constexpr uint64_t alignment = kGgufDefaultAlignment;
    for (const std::string& scheme : schemes_of(shape)) {
      Candidate c{.scheme = scheme, .storage = choice_.target->storage(scheme, shape, source_.architecture.dtype)};
      if (c.storage.layout)
        for (const LayoutTensor& t : c.storage.layout->plan(c.storage.scheme, site.out, site.in))
          c.bytes += round_up(t.bytes, alignment);
      else
        c.bytes = round_up(static_cast<uint64_t>(bytes_of(c.storage.dense, site.out * site.in)), alignment);
      m.candidates.push_back(std::move(c));
    }
    matrices_.push_back(std::move(m));
  }

  // The candidates' errors.
  void weigh() {
    const SiteStatistics inputs =
        statistics_of(source_.architecture, measure_imatrix(source_, windows_), "the calibration text");
    for (Matrix& m : matrices_) {
      if (const auto at = inputs.find(m.site.name); at != inputs.end()) m.importance = at->second.importance;
      int64_t rows = 0;
      const std::vector<float> w = sampled_rows(*source_.weights, m.site, &rows);
      parallel_for(static_cast<int64_t>(m.candidates.size()), [&](int64_t i) {
        Candidate& c = m.candidates[static_cast<size_t>(i)];
        c.error = relative_error(m, w, rounded(m, c.storage, w, rows));
      });
    }
  }

  const Artifact& source_;
  const TargetChoice& choice_;
  const std::string& name_;
  Windows windows_;
  std::vector<Given> given_;
  std::vector<Matrix> matrices_;
  uint64_t fixed_ = 0;
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

AllocationWork allocation_work(const Artifact& a, const TargetChoice& choice, const std::string& name,
                               std::span<const SiteOverride> given, uint64_t bytes, const Windows& windows) {
  const Allocator allocator(a, choice, name, given, bytes, windows);
  AllocationWork work = allocator.work();
  work.rounding = allocator.rounding_seconds();
  return work;
}

Allocation allocate(const Artifact& a, const TargetChoice& choice, const std::string& name,
                    std::span<const SiteOverride> given, uint64_t bytes, const Windows& windows) {
  Allocator allocator(a, choice, name, given, bytes, windows);
  const std::vector<BudgetItem> items = allocator.items();
  const Budget budget(items);
  const auto best = budget.best(bytes - allocator.fixed());
  if (!best) fail(ErrorKind::internal, "no choice fits into {} bytes", bytes);
  Allocation result{.sites = allocator.choices(best->options),
                    .scheme = allocator.most_frequent(best->options),
                    .bytes = allocator.fixed() + best->bytes,
                    .kl = best->cost,
                    .curve = thinned(budget.curve(), allocator.fixed())};
  for (size_t i = 0; i < items.size(); ++i) result.sites[i].predicted_kl = items[i][best->options[i]].cost;
  if (const uint64_t exact = allocator.file_bytes(result.sites); exact != result.bytes)
    fail(ErrorKind::internal, "a file of {} bytes was planned with {}", exact, result.bytes);
  return result;
}

}  // namespace kerf
