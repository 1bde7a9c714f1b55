#include "pipeline/runs/speed_run.h"

#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include "core/error.h"
#include "model/run/blockwise_forward.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"

namespace kerf {
namespace {
using Clock = std::chrono::steady_clock;

// Seconds of the fastest of as many calls as fit into `seconds`, at least three.
template <class F>
double fastest_pass(double seconds, F&& pass) {
  double best = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  for (int i = 0; i < 3 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds; ++i) {
    const auto start = Clock::now();
    pass();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

constexpr int64_t kDefaultCtx = 512;

// Ids spread over the vocabulary: which they are does not change the work.
Windows one_window(const Architecture& a, int64_t length) {
  Windows w{.count = 1, .length = length};
  for (int64_t t = 0; t < length; ++t) w.ids.push_back(static_cast<int32_t>(t * 7919 % a.vocab()));
  return w;
}

double prefill_seconds(const Artifact& a, WeightProvider& weights, const SpeedOptions& o, int64_t ctx) {
  const Windows window = one_window(a.architecture, ctx);
  return fastest_pass(o.seconds,
                      [&] { BlockwiseForward(a.architecture, weights, arithmetic_of(a, o.numerics), window).run(); });
}

double decode_seconds(const Artifact& a, WeightProvider& weights, const SpeedOptions& o) {
  std::vector<std::unique_ptr<Linear>> matrices;
  int64_t widest = 0;
  const auto add = [&](const Site& site) {
    matrices.push_back(weights.linear(site));
    widest = std::max({widest, site.in, site.out});
  };
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer)) add(site);
  add(a.architecture.head());
  const std::vector<float> x(static_cast<size_t>(widest), 0.5f);
  std::vector<float> y(static_cast<size_t>(widest));
  return fastest_pass(o.seconds, [&] {
    for (const auto& m : matrices) m->apply(x.data(), 1, 0, m->out, y.data(), m->out);
  });
}

}  // namespace

Speed speed_run(const SpeedOptions& o) {
  const Artifact a = open_artifact(resolve_model(o.model));
  const int64_t longest = a.architecture.context;
  if (o.ctx < 0 || o.ctx > longest)
    fail(ErrorKind::usage, "--ctx {} is outside of 1 to {}, the model's context", o.ctx, longest);
  const int64_t ctx = o.ctx > 0 ? o.ctx : std::min(kDefaultCtx, longest);
  const std::unique_ptr<WeightProvider> weights = weights_of(a, o.numerics);
  return {.format = a.format,
          .ctx = ctx,
          .prefill = static_cast<double>(ctx) / prefill_seconds(a, *weights, o, ctx),
          .decode = 1 / decode_seconds(a, *weights, o)};
}

}  // namespace kerf
