// Products are those of calibration (model/run/fast_linear.h), so that what the runs differ by is quantization alone.
#include "pipeline/calibrate/full_precision.h"

#include "model/run/fast_linear.h"

namespace kerf {

std::vector<float> read_matrix(const TensorSource& source, const Site& site) {
  std::vector<float> w(static_cast<size_t>(site.out * site.in));
  source.read(*source.find(site.name), 0, w);
  check_finite(w, site.name, 0, site.in);
  return w;
}

std::vector<BlockwiseForward::Replacement> passthrough(const BlockwiseForward::Group& g, const TensorSource& source) {
  std::vector<BlockwiseForward::Replacement> same;
  for (size_t i = 0; i < g.sites.size(); ++i)
    same.push_back({fast_linear(read_matrix(source, g.sites[i]), g.sites[i].out, g.sites[i].in),
                    {g.biases[i].begin(), g.biases[i].end()}});
  return same;
}

FullPrecisionRun::FullPrecisionRun(const Architecture& a, const TensorSource& source, const Windows& windows,
                                   Scratch& scratch)
    : source_(source),
      weights_(dense_weights(a, source)),
      stream_(a, *weights_, fast_arithmetic(), windows, &scratch) {}

}  // namespace kerf
