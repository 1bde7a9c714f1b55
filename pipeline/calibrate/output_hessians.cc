// There block by block, each before the next, and back the same way: a block's activations are computed anew for it.
#include "pipeline/calibrate/output_hessians.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "distill/fisher.h"
#include "model/run/blockwise_forward.h"
#include "model/run/fast_linear.h"
#include "model/run/tape.h"

namespace kerf {
namespace {

// Tokens that go through a block together, in whole windows, and through the head.
constexpr int64_t kTokensOfBatch = 2048, kTokensOfHead = 256;
constexpr uint64_t kSeed = 0;  // of the gradients' signs

int64_t moments_of(const Architecture& a, int64_t layer) {
  int64_t floats = 0;
  for (const Site& site : a.block_sites(layer)) floats += site.out * site.out;
  return floats;
}

struct Gradients {
  explicit Gradients(const Site& site, int64_t tokens)
      : name(site.name), moments(site.out), squares(static_cast<size_t>(tokens)) {}

  // Those of the tokens from `first` on.
  void add(std::span<const float> d, int64_t first) {
    const int64_t n = moments.n, tokens = std::ssize(d) / n;
    std::vector<float> rows(d.size());
    parallel_for(tokens, [&](int64_t t) {
      const float* from = d.data() + t * n;
      double square = 0;
      for (int64_t c = 0; c < n; ++c) square += static_cast<double>(from[c]) * static_cast<double>(from[c]);
      squares[static_cast<size_t>(first + t)] = static_cast<float>(square);
      const float scale = square > 0 ? static_cast<float>(std::pow(square, -0.25)) : 0.0F;
      for (int64_t c = 0; c < n; ++c) rows[static_cast<size_t>(t * n + c)] = from[c] * scale;
    });
    for (int64_t t = first; t < first + tokens; ++t)
      if (!std::isfinite(squares[static_cast<size_t>(t)]))
        fail(ErrorKind::numerical, "the gradient to the outputs of {} is not finite at token {}", name, t);
    moments.add(rows.data(), tokens, n);
  }

  std::string name;
  Hessian moments;
  std::vector<float> squares;
};

class Pass {
 public:
  Pass(const Architecture& a, const TensorSource& source, const Windows& windows, int64_t first_layer, Scratch& scratch)
      : a_(a), source_(source), windows_(windows), weights_(dense_weights(a, source)) {
    d_ = scratch.floats(windows.tokens() * a.hidden());
    {
      const BlockwiseForward embedded(a, *weights_, arithmetic_, windows, &scratch);
      std::copy(embedded.hidden().begin(), embedded.hidden().end(), d_.data());
    }
    states_.resize(static_cast<size_t>(a.layers()));
    for (int64_t layer = 0; layer < a.layers(); ++layer) {
      ScratchArray& before = states_[static_cast<size_t>(layer)];
      if (layer >= first_layer) before = scratch.floats(d_.size());
      const BlockWeights block = load_fast_ops(a, *weights_, source, a.block(layer), layer);
      in_batches([&](int64_t begin, int64_t tokens) {
        const std::span<float> x = rows(d_, begin, tokens);
        if (before.data()) std::copy(x.begin(), x.end(), rows(before, begin, tokens).begin());
        block_forward(a, layer, block, arithmetic_, tokens / windows.length, windows.length, x.data());
        leave(before, begin, tokens);
        leave(d_, begin, tokens);
      });
    }
    back_through_head();
  }

  // Of the block's matrices; blocks are called from the last to the first.
  std::vector<Gradients> back_through_block(int64_t layer) {
    const Ops& ops = a_.block(layer);
    const BlockWeights block = load_fast_ops(a_, *weights_, source_, ops, layer);
    const ScratchArray before = std::move(states_[static_cast<size_t>(layer)]);
    std::vector<Gradients> found;
    for (const Site& site : block.sites) found.emplace_back(site, windows_.tokens());
    WeightGradients seen{.ops = std::vector<WeightGradients::OfOp>(ops.size())};
    int64_t first = 0;
    for (size_t i = 0, matrix = 0; i < ops.size(); ++i) {
      if (!ops[i].as<MatMul>()) continue;
      Gradients& g = found[matrix++];
      seen.ops[i].result = [&g, &first](std::span<const float> d) { g.add(d, first); };
    }
    Tape tape(a_, ops, arithmetic_, windows_.length);
    in_batches([&](int64_t begin, int64_t tokens) {
      const std::span<float> d = rows(d_, begin, tokens);
      first = begin;
      tape.forward(block, tokens / windows_.length, rows(before, begin, tokens));
      const std::vector<float> back = tape.backward(d, seen);
      std::copy(back.begin(), back.end(), d.begin());
      leave(before, begin, tokens);
      leave(d_, begin, tokens);
    });
    for (Gradients& g : found) g.moments.finish(g.name);
    return found;
  }

 private:
  // The last hidden states become their gradients.
  void back_through_head() {
    const BlockWeights weights = load_fast_ops(a_, *weights_, source_, a_.after, -1);
    Tape head(a_, a_.after, arithmetic_, 1);
    WeightGradients none{.ops = std::vector<WeightGradients::OfOp>(a_.after.size())};
    std::vector<float> d;
    for (int64_t begin = 0; begin < windows_.tokens(); begin += kTokensOfHead) {
      const int64_t count = std::min(kTokensOfHead, windows_.tokens() - begin);
      const std::span<float> x = rows(d_, begin, count);
      const std::span<const float> logits = head.forward(weights, count, x);
      d.resize(logits.size());
      fisher_gradients(windows_, begin, count, kSeed, logits, d);
      const std::vector<float> back = head.backward(d, none);
      std::copy(back.begin(), back.end(), x.begin());
      leave(d_, begin, count);
    }
  }

  std::span<float> rows(const ScratchArray& x, int64_t begin, int64_t tokens) const {
    return {x.data() + begin * a_.hidden(), static_cast<size_t>(tokens * a_.hidden())};
  }
  void leave(const ScratchArray& x, int64_t begin, int64_t tokens) const {
    if (x.data()) x.leave(begin * a_.hidden(), tokens * a_.hidden());
  }
  // f(first token, tokens), in whole windows.
  template <class F>
  void in_batches(F&& f) const {
    const int64_t batch = std::max<int64_t>(1, kTokensOfBatch / windows_.length) * windows_.length;
    for (int64_t t = 0; t < windows_.tokens(); t += batch) f(t, std::min(batch, windows_.tokens() - t));
  }

  const Architecture& a_;
  const TensorSource& source_;
  const Windows& windows_;
  const Arithmetic arithmetic_ = fast_arithmetic();
  const std::unique_ptr<WeightProvider> weights_;
  ScratchArray d_;                    // [tokens, hidden]: the stream on its way there, its gradient on the way back
  std::vector<ScratchArray> states_;  // before each block from the first one on that is wanted
};

}  // namespace

OutputHessians::OutputHessians(const Architecture& a, const TensorSource& source, const Windows& windows,
                               int64_t first_layer, Scratch& scratch) {
  Progress progress("gradients of block", a.layers() - first_layer);
  Pass pass(a, source, windows, first_layer, scratch);
  for (int64_t layer = a.layers(); layer-- > first_layer;) {
    for (Gradients& g : pass.back_through_block(layer)) {
      ScratchArray kept = scratch.floats(std::ssize(g.moments.values));
      std::copy(g.moments.values.begin(), g.moments.values.end(), kept.data());
      kept.leave(0, kept.size());
      sites_.emplace(g.name, OfSite{std::move(kept), std::move(g.squares)});
    }
    progress.advance();
  }
}

Hessian OutputHessians::of(const Site& site) const {
  const OfSite& kept = sites_.at(site.name);
  Hessian h(site.out);
  h.tokens = std::ssize(kept.squares);
  std::copy_n(kept.moments.data(), kept.moments.size(), h.values.begin());
  kept.moments.leave(0, kept.moments.size());
  return h;
}

std::vector<float> OutputHessians::token_weights(std::span<const Site> group) const {
  std::vector<float> weights(sites_.at(group[0].name).squares.size());
  for (const Site& site : group) {
    const std::vector<float>& squares = sites_.at(site.name).squares;
    const double mean = std::accumulate(squares.begin(), squares.end(), 0.0) / static_cast<double>(squares.size());
    if (mean == 0) continue;
    for (size_t t = 0; t < weights.size(); ++t) weights[t] += squares[t] / static_cast<float>(mean);
  }
  for (float& w : weights) w = std::sqrt(w);
  const double mean = std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
  for (float& w : weights) w = mean > 0 ? w / static_cast<float>(mean) : 1.0F;
  return weights;
}

int64_t output_hessian_floats(const Architecture& a, int64_t tokens) {
  int64_t floats = (a.layers() + 2) * tokens * a.hidden();
  for (int64_t layer = 0; layer < a.layers(); ++layer) floats += moments_of(a, layer);
  return floats;
}

int64_t output_moments_in_memory(const Architecture& a) {
  int64_t most = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer) most = std::max(most, moments_of(a, layer));
  return most;
}

}  // namespace kerf
