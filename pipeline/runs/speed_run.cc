#include "pipeline/runs/speed_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>
#include <numeric>
#include <span>
#include <vector>

#include "core/error.h"
#include "model/run/block.h"
#include "model/run/fast_linear.h"
#include "pipeline/runs/model_path.h"

namespace kerf {
namespace {
using Clock = std::chrono::steady_clock;

constexpr int64_t kDefaultCtx = 512;

double weights_in(const Site& s) { return static_cast<double>(s.out) * static_cast<double>(s.in); }

double weights_in(const Architecture& a, std::span<const int64_t> layers) {
  double n = 0;
  for (const int64_t layer : layers)
    for (const Site& s : a.block_sites(layer)) n += weights_in(s);
  return n;
}

// All of them in an order whose beginning is spread over the model: by the golden ratio, which follows no period of a
// mixture of types.
std::vector<int64_t> spread_layers(int64_t layers) {
  std::vector<int64_t> order;
  std::vector<bool> taken(static_cast<size_t>(layers));
  for (double at = 0.5; std::ssize(order) < layers; at += std::numbers::phi) {
    const auto layer = static_cast<size_t>((at - std::floor(at)) * static_cast<double>(layers));
    if (taken[layer]) continue;
    taken[layer] = true;
    order.push_back(static_cast<int64_t>(layer));
  }
  return order;
}

// The first of them, as long as they have at most so many weights that count; one at least.
template <class Counts>
std::vector<int64_t> layers_within(const Architecture& a, std::span<const int64_t> layers, double most,
                                   Counts&& counts) {
  std::vector<int64_t> some;
  double sum = 0;
  for (const int64_t layer : layers) {
    for (const Site& s : a.block_sites(layer))
      if (counts(s)) sum += weights_in(s);
    if (!some.empty() && sum > most) break;
    some.push_back(layer);
  }
  return some;
}

bool always(const Site&) { return true; }

// What all blocks take beside these.
double share_of_all(const Architecture& a, std::span<const int64_t> layers) {
  return weights_in(a, spread_layers(a.layers())) / weights_in(a, layers);
}

// The first rows of a matrix, in memory.
std::unique_ptr<Linear> first_rows(const Linear& whole, int64_t rows) {
  std::vector<float> w(static_cast<size_t>(rows * whole.in));
  whole.read_rows(0, rows, w.data());
  return float_linear(std::move(w), rows, whole.in);
}

// Whether a matrix is multiplied where it lies in the file.
bool in_place(const Artifact& a, VerifyMode n, const Site& s) {
  return n != VerifyMode::float32 && (a.weights->weight(s.name)->gemm || a.gguf_rounding);
}

// As much of a model as the limits allow, ready to be multiplied.
struct Loaded {
  std::vector<int64_t> layers = {};
  std::vector<BlockWeights> blocks = {};  // of these
  std::unique_ptr<Linear> head = nullptr;
};

Loaded load(const Artifact& a, VerifyMode n, WeightProvider& weights, double held) {
  const Architecture& arch = a.architecture;
  const auto is_held = [&](const Site& s) { return !in_place(a, n, s); };
  Loaded m{.layers = layers_within(arch, spread_layers(arch.layers()), held, is_held),
           .head = weights.linear(arch.head())};
  for (const int64_t layer : m.layers) m.blocks.push_back(load_block(arch, weights, layer));
  if (in_place(a, n, arch.head())) return m;
  const double rows = std::min<double>(static_cast<double>(m.head->out), held / static_cast<double>(m.head->in));
  m.head = first_rows(*m.head, std::max<int64_t>(1, static_cast<int64_t>(rows)));
  return m;
}

// The shortest time of a part of a pass.
struct Fastest {
  double seconds = std::numeric_limits<double>::infinity();

  template <class F>
  void time(F&& f) {
    const auto start = Clock::now();
    f();
    seconds = std::min(seconds, std::chrono::duration<double>(Clock::now() - start).count());
  }
};

// As many passes as fit.
template <class F>
void passes(const SpeedLimits& l, F&& pass) {
  const auto begin = Clock::now();
  for (int i = 0; i < l.passes || std::chrono::duration<double>(Clock::now() - begin).count() < l.seconds; ++i) pass();
}

// Ids spread over the vocabulary: which they are does not change the work.
std::vector<float> embedded_window(const Architecture& a, WeightProvider& weights, int64_t length) {
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(t * 7919 % a.vocab()));
  std::vector<float> x(static_cast<size_t>(length * a.hidden()));
  weights.embed(ids, x.data());
  return x;
}

// Of all blocks; the first `blocks` of those that are loaded are run.
double prefill_seconds(const Architecture& a, const Arithmetic& arithmetic, const Loaded& m, size_t blocks,
                       const std::vector<float>& window, const SpeedLimits& l) {
  const int64_t length = std::ssize(window) / a.hidden();
  std::vector<OpRunner> kinds;
  for (const Ops& ops : a.kinds) kinds.emplace_back(a, ops, arithmetic, length);
  std::vector<size_t> order(blocks);  // that of the model
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return m.layers[i] < m.layers[j]; });
  std::vector<float> x;
  Fastest fastest;
  passes(l, [&] {
    x = window;
    fastest.time([&] {
      for (const size_t i : order)
        kinds[a.kind_of_layer[static_cast<size_t>(m.layers[i])]].run(m.blocks[i], 1, x.data());
    });
  });
  return fastest.seconds * share_of_all(a, std::span(m.layers).first(blocks));
}

// The products of one token.
double decode_seconds(const Architecture& a, const Loaded& m, const SpeedLimits& l) {
  const int64_t widest = std::max({a.hidden(), a.widest(), m.head->out});
  const std::vector<float> x(static_cast<size_t>(widest), 0.5F);
  std::vector<float> y(static_cast<size_t>(widest));
  const auto apply = [&](const Linear& w) { w.apply(x.data(), 1, 0, w.out, y.data(), w.out); };
  Fastest blocks, head;
  passes(l, [&] {
    blocks.time([&] {
      for (const BlockWeights& block : m.blocks)
        for (const BlockWeights::OfOp& op : block.ops)
          if (op.linear) apply(*op.linear);
    });
    head.time([&] { apply(*m.head); });
  });
  return blocks.seconds * share_of_all(a, m.layers) +
         head.seconds * static_cast<double>(a.head().out) / static_cast<double>(m.head->out);
}

}  // namespace

int64_t prefill_tokens(const Architecture& a, int64_t ctx) {
  if (ctx < 0 || ctx > a.context)
    fail(ErrorKind::usage, "--ctx {} is outside of 1 to {}, the model's context", ctx, a.context);
  return ctx > 0 ? ctx : std::min(kDefaultCtx, a.context);
}

SpeedLimits limits_of_report(const Architecture& a) {
  return {.ctx = std::min<int64_t>(128, a.context), .seconds = 0.05, .passes = 1, .held = 1 << 24, .passed = 1.5e10};
}

Speed measure_speed(const Artifact& artifact, VerifyMode n, const SpeedLimits& l) {
  const Architecture& a = artifact.architecture;
  const int64_t ctx = prefill_tokens(a, l.ctx);
  const std::unique_ptr<WeightProvider> weights = weights_of(artifact, n);
  const Loaded m = load(artifact, n, *weights, l.held);
  const size_t blocks = layers_within(a, m.layers, l.passed / static_cast<double>(ctx), always).size();
  const std::vector<float> window = embedded_window(a, *weights, ctx);
  const bool plain = n == VerifyMode::float32 || artifact.target.empty();
  return {.arithmetic = plain ? "float32" : "the runtime's",
          .prefill = static_cast<double>(ctx) / prefill_seconds(a, arithmetic_of(artifact, n), m, blocks, window, l),
          .decode = 1 / decode_seconds(a, m, l)};
}

uint64_t speed_memory(const Architecture& a, const SpeedLimits& l) {
  const double blocks = weights_in(a, layers_within(a, spread_layers(a.layers()), l.held, always)),
               head = std::min(weights_in(a.head()), l.held);
  const double slots = 4 * static_cast<double>(a.hidden() + a.widest());  // of a block on its way
  return static_cast<uint64_t>(sizeof(float) * (blocks + head + static_cast<double>(prefill_tokens(a, l.ctx)) * slots));
}

SpeedRun speed_run(const SpeedOptions& o) {
  const Artifact a = open_artifact(resolve_model(o.model));
  const SpeedLimits limits{.ctx = prefill_tokens(a.architecture, o.ctx), .seconds = o.seconds};
  return {.format = a.format, .ctx = limits.ctx, .speed = measure_speed(a, o.numerics, limits)};
}

}  // namespace kerf
