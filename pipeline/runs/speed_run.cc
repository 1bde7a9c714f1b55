#include "pipeline/runs/speed_run.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "core/error.h"
#include "kernels/dense/dense.h"
#include "model/run/block.h"
#include "pipeline/runs/model_path.h"

namespace kerf {
namespace {
using Clock = std::chrono::steady_clock;

constexpr int64_t kDefaultCtx = 512;

double weights_in(const Site& s) { return static_cast<double>(s.out) * static_cast<double>(s.in); }

// Of the first blocks, matrices that count.
template <class Counts>
double weights_in_blocks(const Architecture& a, int64_t begin, int64_t end, Counts&& counts) {
  double n = 0;
  for (int64_t layer = begin; layer < end; ++layer)
    for (const Site& s : a.block_sites(layer))
      if (counts(s)) n += weights_in(s);
  return n;
}

bool always(const Site&) { return true; }

// How many of the first blocks have at most so many weights that count, one at least.
template <class Counts>
int64_t blocks_within(const Architecture& a, double most, Counts&& counts) {
  int64_t n = 1;
  for (double sum = weights_in_blocks(a, 0, 1, counts); n < a.layers(); ++n)
    if (sum += weights_in_blocks(a, n, n + 1, counts); sum > most) break;
  return n;
}

// What all blocks take beside the first `blocks`.
double share_of_all(const Architecture& a, int64_t blocks) {
  return weights_in_blocks(a, 0, a.layers(), always) / weights_in_blocks(a, 0, blocks, always);
}

// The first rows of a matrix, in memory.
class HeldRows final : public Linear {
 public:
  HeldRows(const Linear& whole, int64_t rows) : Linear(rows, whole.in), w_(static_cast<size_t>(rows * whole.in)) {
    whole.read_rows(0, rows, w_.data());
  }
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    matmul_nt(tokens, row_end - row_begin, in, x, in, w_.data() + row_begin * in, in, y, y_stride);
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    std::copy_n(w_.data() + row_begin * in, (row_end - row_begin) * in, to);
  }

 private:
  std::vector<float> w_;
};

// Whether a matrix is multiplied where it lies in the file.
bool in_place(const Artifact& a, VerifyMode n, const Site& s) {
  return n != VerifyMode::float32 && (a.weights->weight(s.name)->gemm || a.gguf_rounding);
}

// As much of a model as the limits allow, ready to be multiplied.
struct Loaded {
  std::vector<BlockWeights> blocks;
  std::unique_ptr<Linear> head;
};

Loaded load(const Artifact& a, VerifyMode n, WeightProvider& weights, double held) {
  const Architecture& arch = a.architecture;
  const int64_t blocks = blocks_within(arch, held, [&](const Site& s) { return !in_place(a, n, s); });
  Loaded m{.head = weights.linear(arch.head())};
  for (int64_t layer = 0; layer < blocks; ++layer) m.blocks.push_back(load_block(arch, weights, layer));
  if (in_place(a, n, arch.head())) return m;
  const double rows = std::min<double>(static_cast<double>(m.head->out), held / static_cast<double>(m.head->in));
  m.head = std::make_unique<HeldRows>(*m.head, std::max<int64_t>(1, static_cast<int64_t>(rows)));
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

// Of all blocks; the first `blocks` are run.
double prefill_seconds(const Architecture& a, const Arithmetic& arithmetic, const Loaded& m, int64_t blocks,
                       const std::vector<float>& window, const SpeedLimits& l) {
  const int64_t length = std::ssize(window) / a.hidden();
  std::vector<OpRunner> kinds;
  for (const Ops& ops : a.kinds) kinds.emplace_back(a, ops, arithmetic, length);
  std::vector<float> x;
  Fastest fastest;
  passes(l, [&] {
    x = window;
    fastest.time([&] {
      for (int64_t layer = 0; layer < blocks; ++layer)
        kinds[a.kind_of_layer[static_cast<size_t>(layer)]].run(m.blocks[static_cast<size_t>(layer)], 1, x.data());
    });
  });
  return fastest.seconds * share_of_all(a, blocks);
}

// The products of one token.
double decode_seconds(const Architecture& a, const Loaded& m, const SpeedLimits& l) {
  const int64_t widest = std::max({a.hidden(), a.widest(), m.head->out});
  const std::vector<float> x(static_cast<size_t>(widest), 0.5F);
  std::vector<float> y(static_cast<size_t>(widest));
  const auto apply = [&](const Linear& l) { l.apply(x.data(), 1, 0, l.out, y.data(), l.out); };
  Fastest blocks, head;
  passes(l, [&] {
    blocks.time([&] {
      for (const BlockWeights& block : m.blocks)
        for (const BlockWeights::OfOp& op : block.ops)
          if (op.linear) apply(*op.linear);
    });
    head.time([&] { apply(*m.head); });
  });
  return blocks.seconds * share_of_all(a, std::ssize(m.blocks)) +
         head.seconds * static_cast<double>(a.head().out) / static_cast<double>(m.head->out);
}

}  // namespace

int64_t prefill_tokens(const Architecture& a, int64_t ctx) {
  if (ctx < 0 || ctx > a.context)
    fail(ErrorKind::usage, "--ctx {} is outside of 1 to {}, the model's context", ctx, a.context);
  return ctx > 0 ? ctx : std::min(kDefaultCtx, a.context);
}

Speed measure_speed(const Artifact& artifact, VerifyMode n, const SpeedLimits& l) {
  const Architecture& a = artifact.architecture;
  const int64_t ctx = prefill_tokens(a, l.ctx);
  const std::unique_ptr<WeightProvider> weights = weights_of(artifact, n);
  const Loaded m = load(artifact, n, *weights, l.held);
  const int64_t blocks = std::min(std::ssize(m.blocks), blocks_within(a, l.passed / static_cast<double>(ctx), always));
  const std::vector<float> window = embedded_window(a, *weights, ctx);
  const bool plain = n == VerifyMode::float32 || artifact.target.empty();
  return {.arithmetic = plain ? "float32" : "the runtime's",
          .prefill = static_cast<double>(ctx) / prefill_seconds(a, arithmetic_of(artifact, n), m, blocks, window, l),
          .decode = 1 / decode_seconds(a, m, l)};
}

uint64_t speed_memory(const Architecture& a, const SpeedLimits& l) {
  const double blocks = weights_in_blocks(a, 0, blocks_within(a, l.held, always), always),
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
