#include "pipeline/calibrated.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/log.h"
#include "grids/grid.h"
#include "model/fast_linear.h"
#include "model/stream.h"
#include "solver/error_feedback.h"

namespace kerf {
namespace {

std::vector<float> read_matrix(const TensorSource& source, const Site& site) {
  std::vector<float> w(static_cast<size_t>(site.out * site.in));
  source.read(*source.find(site.name), 0, w);
  check_finite(w, site.name, 0, site.in);
  return w;
}

double total(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

// One target on its way through the blocks.
class Run {
 public:
  Run(const Architecture& a, const TensorSource& source, const Quantizer& quantizer, const QuantizerOptions& options,
      const Windows& windows, const PackJob& job)
      : source_(source),
        quantizer_(quantizer),
        options_(options),
        job_(job),
        weights_(dense_weights(a, source)),
        stream_(a, *weights_, {}, windows) {
    for (const PlannedMatrix& m : job.plan->matrices) planned_.emplace(m.site.name, &m);
  }

  void block(int64_t layer) {
    stream_.run_block_in_groups(layer, [&](const Stream::Group& g) { return group(g); });
  }
  std::vector<SiteOutcome> outcomes() && { return std::move(outcomes_); }

 private:
  std::vector<std::unique_ptr<Linear>> group(const Stream::Group& g) {
    Statistics statistics{Hessian(g.sites[0].in)};
    statistics.hessian.add(g.x, g.tokens, g.sites[0].in);
    statistics.hessian.finish();
    const Scheme* prepared = nullptr;
    std::vector<std::unique_ptr<Linear>> linears;
    for (const Site& site : g.sites) {
      const PlannedMatrix& m = *planned_.at(site.name);
      std::vector<float> w = read_matrix(source_, site);
      if (!m.storage.layout) {
        write_matrix(job_, m, w);
      } else {
        if (!prepared || *prepared != m.storage.scheme) quantizer_.prepare(statistics, m.storage.scheme, options_);
        prepared = &m.storage.scheme;
        w = quantize(site, m, w, statistics);
      }
      linears.push_back(fast_linear(std::move(w), site.out, site.in));
    }
    return linears;
  }

  // Writes the matrix and returns its values.
  std::vector<float> quantize(const Site& site, const PlannedMatrix& m, const std::vector<float>& w,
                              const Statistics& statistics) {
    const Scheme& scheme = m.storage.scheme;
    const QuantizedMatrix q = quantizer_.quantize(w, site.out, site.in, scheme, &statistics, options_);
    write_matrix(job_, m, q);
    std::vector<float> values(w.size()), e(w.size());
    find_grid(scheme.grid).decode(q, values);
    std::transform(w.begin(), w.end(), values.begin(), e.begin(), std::minus<>());
    const Hessian& h = statistics.hessian;
    const double signal = total(hessian_norms(h, w, site.out));
    SiteOutcome outcome{.name = site.name, .method = std::string(quantizer_.name())};
    outcome.error = total(hessian_norms(h, e, site.out)) / signal;
    outcomes_.push_back(std::move(outcome));
    return values;
  }

  const TensorSource& source_;
  const Quantizer& quantizer_;
  const QuantizerOptions& options_;
  const PackJob& job_;
  const std::unique_ptr<Weights> weights_;
  Stream stream_;
  std::map<std::string, const PlannedMatrix*> planned_;
  std::vector<SiteOutcome> outcomes_;
};

}  // namespace

std::vector<std::vector<SiteOutcome>> pack_calibrated(const Architecture& a, const TensorSource& source,
                                                      const Quantizer& quantizer, const QuantizerOptions& options,
                                                      const Windows& windows, std::span<const PackJob> jobs) {
  pack_matrices(a, source, find_quantizer("rtn"), jobs, 0);
  std::vector<std::unique_ptr<Run>> runs;
  for (const PackJob& job : jobs) runs.push_back(std::make_unique<Run>(a, source, quantizer, options, windows, job));
  Progress progress("calibrating block", a.layers);
  for (int64_t layer = 0; layer < a.layers; ++layer) {
    for (const auto& run : runs) run->block(layer);
    progress.advance();
  }
  for (const PackJob& job : jobs) write_vectors(source, job, {});
  std::vector<std::vector<SiteOutcome>> outcomes;
  for (const auto& run : runs) outcomes.push_back(std::move(*run).outcomes());
  return outcomes;
}

}  // namespace kerf
