// One pass of the model itself; from it a pass per probe branches off before the block that it concerns.
#include "pipeline/calibrate/sensitivity.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/log.h"
#include "model/run/blockwise_forward.h"
#include "model/run/evaluate.h"
#include "model/run/fast_linear.h"

namespace kerf {
namespace {

// The model's weights, but for one matrix.
class WithOneReplaced final : public WeightProvider {
 public:
  WithOneReplaced(WeightProvider& rest, const Probe& probe, int64_t embedding_width)
      : rest_(rest), site_(probe.site), values_(probe.values()), width_(embedding_width) {}

  std::unique_ptr<Linear> linear(const Site& site) override {
    if (site.name != site_.name) return rest_.linear(site);
    return fast_linear(values_, site_.out, site_.in);
  }
  std::vector<float> vector(const std::string& name) override { return rest_.vector(name); }
  void embed(std::span<const int32_t> ids, float* out) override {
    if (site_.place != SitePlace::embedding) return rest_.embed(ids, out);
    check_ids(ids, site_.out);
    for (size_t t = 0; t < ids.size(); ++t)
      std::copy_n(values_.begin() + ids[t] * width_, width_, out + static_cast<int64_t>(t) * width_);
  }

 private:
  WeightProvider& rest_;
  const Site& site_;
  std::vector<float> values_;
  int64_t width_;
};

struct Branch {
  std::unique_ptr<WithOneReplaced> weights;
  BlockwiseForward stream;
};

}  // namespace

std::vector<double> probe_kl(const Architecture& a, const TensorSource& source, std::span<const Probe> probes,
                             const Windows& windows) {
  const std::unique_ptr<WeightProvider> weights = dense_weights(a, source);
  BlockwiseForward whole(a, *weights, {}, windows);
  whole.run();
  const Logits reference(a, *weights, whole);
  BlockwiseForward stream(a, *weights, {}, windows);
  std::vector<double> kl;
  Progress progress("weighing matrix", static_cast<int64_t>(probes.size()));
  for (int64_t layer = -1; layer < a.layers(); ++layer) {
    std::vector<Branch> branches;
    while (kl.size() + branches.size() < probes.size() && probes[kl.size() + branches.size()].site.layer == layer) {
      auto replaced = std::make_unique<WithOneReplaced>(*weights, probes[kl.size() + branches.size()], a.hidden());
      BlockwiseForward branch(a, *replaced, {}, windows);
      if (layer > 0) branch.restore(layer - 1, stream.hidden());
      branches.push_back({std::move(replaced), std::move(branch)});
      branches.back().stream.run();
      progress.advance();
    }
    std::vector<std::unique_ptr<Logits>> logits;
    std::vector<const Logits*> pointers;
    for (Branch& b : branches) {
      logits.push_back(std::make_unique<Logits>(a, *b.weights, b.stream));
      pointers.push_back(logits.back().get());
    }
    if (!branches.empty())
      for (const Comparison& c : compare(reference, pointers, windows)) kl.push_back(c.kl_mean);
    if (layer >= 0) stream.run_block(layer);
  }
  if (kl.size() != probes.size()) fail(ErrorKind::internal, "probes were not given in the order of the layers");
  return kl;
}

ProbeWork probe_work(const Architecture& a, std::span<const Site> probes) {
  std::vector<double> after(static_cast<size_t>(a.layers()) + 1);  // weights of a block and later ones
  for (size_t l = after.size() - 1; l-- > 0;) {
    after[l] = after[l + 1];
    for (const Site& s : a.block_sites(static_cast<int64_t>(l)))
      after[l] += static_cast<double>(s.out) * static_cast<double>(s.in);
  }
  double run = 2 * after[0];  // the reference, and once beside the probes
  for (const Site& s : probes) run += after[static_cast<size_t>(std::max<int64_t>(s.layer, 0))];
  const double head = static_cast<double>(a.vocab()) * static_cast<double>(a.hidden());
  return {.passes = after[0] > 0 ? run / after[0] : 0,
          .products = run + (static_cast<double>(probes.size()) + 1) * head};
}

}  // namespace kerf
