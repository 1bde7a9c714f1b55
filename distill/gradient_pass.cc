// Hidden states are kept between the blocks on the way there; on the way back each block runs once more, for its tape.
#include "distill/gradient_pass.h"

#include <algorithm>

#include "model/run/block.h"

namespace kerf {
namespace {

// Tokens whose logits are in memory at a time.
constexpr int64_t kHeadTokens = 256;

// What follows the rows of the embedding, before the first block.
Ops after_embedding(const Architecture& a) { return {a.before.begin() + 1, a.before.end()}; }

}  // namespace

double add_gradients(TrainedModel& model, const Windows& batch, Loss& loss, const Arithmetic& arithmetic) {
  const Architecture& a = model.architecture();
  const int64_t tokens = batch.tokens(), hidden = a.hidden();
  const auto part = [&](auto& x, int64_t begin, int64_t count) {
    return std::span(x).subspan(static_cast<size_t>(begin * hidden), static_cast<size_t>(count * hidden));
  };
  std::vector<std::vector<float>> states(static_cast<size_t>(a.layers()) + 1);  // before each block, and after the last
  std::vector<float> rows(static_cast<size_t>(tokens * hidden));
  model.embed(batch.ids, rows.data());
  const Ops entry = after_embedding(a);
  BlockWeights of_entry{.ops = std::vector<BlockWeights::OfOp>(entry.size())};
  Tape entry_tape(a, entry, arithmetic, batch.length);
  states[0] = rows;
  if (!entry.empty()) {
    const std::span<const float> x = entry_tape.forward(of_entry, batch.count, rows);
    states[0].assign(x.begin(), x.end());
  }
  std::vector<Tape> tapes;  // one per kind of layer
  for (const Ops& kind : a.kinds) tapes.emplace_back(a, kind, arithmetic, batch.length);
  const auto tape_of = [&](int64_t layer) -> Tape& { return tapes[a.kind_of_layer[static_cast<size_t>(layer)]]; };
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    std::vector<float>& x = states[static_cast<size_t>(layer) + 1];
    x = states[static_cast<size_t>(layer)];
    block_forward(a, layer, model.weights(layer), arithmetic, batch.count, batch.length, x.data());
  }

  const double weight = 1 / static_cast<double>(batch.count * (batch.length - 1));
  double sum = 0;
  std::vector<float> d(static_cast<size_t>(tokens * hidden));
  {
    const BlockWeights weights = model.weights(-1);
    WeightGradients gradients = model.wanted(-1);
    Tape head(a, a.after, arithmetic, 1);
    std::vector<float> logits;
    for (int64_t begin = 0; begin < tokens; begin += kHeadTokens) {
      const int64_t count = std::min(kHeadTokens, tokens - begin);
      const std::span<const float> y = head.forward(weights, count, part(states.back(), begin, count));
      logits.assign(y.begin(), y.end());
      sum += loss.gradient(batch, begin, count, weight, logits);
      const std::vector<float> back = head.backward(logits, gradients);
      std::copy(back.begin(), back.end(), part(d, begin, count).begin());
    }
    model.take(-1, std::move(gradients));
  }
  for (int64_t layer = a.layers(); layer-- > 0;) {
    const BlockWeights weights = model.weights(layer);
    WeightGradients gradients = model.wanted(layer);
    tape_of(layer).forward(weights, batch.count, states[static_cast<size_t>(layer)]);
    d = tape_of(layer).backward(d, gradients);
    model.take(layer, std::move(gradients));
  }
  if (!entry.empty()) {
    WeightGradients none{.ops = std::vector<WeightGradients::OfOp>(entry.size())};
    d = entry_tape.backward(d, none);
  }
  model.take_embedded(batch.ids, d);
  return sum * weight;
}

}  // namespace kerf
