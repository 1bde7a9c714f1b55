#include "pipeline/full_precision.h"

#include "model/fast_linear.h"

namespace kerf {

std::vector<float> read_matrix(const TensorSource& source, const Site& site) {
  std::vector<float> w(static_cast<size_t>(site.out * site.in));
  source.read(*source.find(site.name), 0, w);
  check_finite(w, site.name, 0, site.in);
  return w;
}

std::vector<Stream::Replacement> as_it_is(const Stream::Group& g, const TensorSource& source) {
  std::vector<Stream::Replacement> same;
  for (size_t i = 0; i < g.sites.size(); ++i)
    same.push_back({fast_linear(read_matrix(source, g.sites[i]), g.sites[i].out, g.sites[i].in),
                    {g.biases[i].begin(), g.biases[i].end()}});
  return same;
}

}  // namespace kerf
