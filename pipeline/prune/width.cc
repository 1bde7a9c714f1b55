#define EIGEN_DONT_PARALLELIZE
#include "pipeline/prune/width.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <numeric>

#include "core/log.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_statistics.h"
#include "prune/rotation.h"
#include "solver/hessian.h"

namespace kerf {
namespace {

using Group = BlockwiseForward::Group;

// Of a matrix that is read at a time: a head can be larger than all blocks together.
constexpr int64_t kWeightsAtATime = 1 << 24;

class ChannelImportance {
 public:
  explicit ChannelImportance(const WidthSamples& m)
      : source_(m.source), sum_(static_cast<size_t>(m.architecture.hidden())) {}

  void add(const Group& g) {
    const Hessian h = group_statistics(g, {}).fitted;
    const auto n = static_cast<size_t>(h.n);
    std::vector<double> squares(n);  // of the columns
    double outputs = 0;
    for (const Site& site : g.sites)
      in_panels(site, [&](const std::vector<float>& w, int64_t rows) {
        for (size_t i = 0; i < w.size(); ++i) squares[i % n] += static_cast<double>(w[i]) * static_cast<double>(w[i]);
        outputs += squared_outputs(h, w, rows);
      });
    for (size_t c = 0; c < n; ++c)
      sum_[c] += squares[c] * static_cast<double>(h.diagonal(static_cast<int64_t>(c))) / std::max(outputs, 1e-30);
  }

  WidthChoice choice(int64_t keep) && {
    std::vector<int64_t> order(sum_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t x, int64_t y) { return sum_[static_cast<size_t>(x)] > sum_[static_cast<size_t>(y)]; });
    order.resize(static_cast<size_t>(keep));
    std::sort(order.begin(), order.end());
    return {std::move(order), std::move(sum_)};
  }

 private:
  template <class F>
  void in_panels(const Site& site, F&& f) const {
    const TensorInfo& tensor = *source_.find(site.name);
    const int64_t rows = std::max<int64_t>(1, kWeightsAtATime / site.in);
    for (int64_t begin = 0; begin < site.out; begin += rows) {
      const int64_t count = std::min(rows, site.out - begin);
      std::vector<float> w(static_cast<size_t>(count * site.in));
      source_.read(tensor, begin, w);
      check_finite(w, site.name, begin, site.in);
      f(w, count);
    }
  }

  const TensorSource& source_;
  std::vector<double> sum_;
};

// One pass: whatever reads the stream through a norm, the head last.
template <class F>
void for_readers_of_stream(const WidthSamples& m, const char* doing, F&& f) {
  const Architecture& a = m.architecture;
  const AxisId stream = a.before.front().axis;
  const std::unique_ptr<WeightProvider> weights = dense_weights(a, m.source);
  BlockwiseForward run(a, *weights, fast_arithmetic(), m.windows, &m.scratch);
  Progress progress(doing, a.layers());
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    run.run_block_in_groups(layer, [&](const Group& g) {
      if (g.sites[0].in_axis == stream) f(g);
      return passthrough(g, m.source);
    });
    progress.advance();
  }
  run.finish();
  f(run.head_group());
}

}  // namespace

std::vector<float> principal_directions(const WidthSamples& m) {
  const RotatedWeights folded(m.architecture, m.source, {});
  const int64_t n = m.architecture.hidden();
  Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(n, n);
  for_readers_of_stream({m.architecture, folded, m.windows, m.scratch}, "turning block", [&](const Group& g) {
    const Hessian h = group_statistics(g, {}).fitted;
    sum += Eigen::Map<const Eigen::MatrixXf>(h.values.data(), n, n).cast<double>() / std::max(h.mean(), 1e-30);
  });
  const std::vector<int64_t> mixed = channels_to_mix(m.architecture, m.source);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(Eigen::MatrixXd(sum(mixed, mixed)));  // values rise
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> q = Eigen::MatrixXf::Identity(n, n);
  q(mixed, mixed) = solver.eigenvectors().rowwise().reverse().cast<float>();
  return {q.data(), q.data() + q.size()};
}

WidthChoice choose_width(const WidthSamples& m, int64_t keep) {
  ChannelImportance importance(m);
  for_readers_of_stream(m, "weighing block", [&](const Group& g) { importance.add(g); });
  return std::move(importance).choice(keep);
}

}  // namespace kerf
