// Hidden states are kept between the blocks on the way there; on the way back each block runs once more, for its tape.
#include "distill/gradient_pass.h"

#include <algorithm>

#include "model/run/block.h"

namespace kerf {
namespace {

// Tokens whose logits are in memory at a time.
constexpr int64_t kHeadTokens = 256;

// The pass on the way there: its entry, which is before the first block, and the states before each block and after the
// last; of the way there alone only the last one is kept.
class WayThere {
 public:
  WayThere(TrainedModel& model, const Windows& batch, const Arithmetic& arithmetic, bool keep)
      : entry_(model.architecture().after_embedding()),
        of_entry_{.ops = std::vector<BlockWeights::OfOp>(entry_.size()), .sites = {}},
        tape_(model.architecture(), entry_, arithmetic, batch.length),
        rows_(static_cast<size_t>(batch.tokens() * model.architecture().hidden())) {
    const Architecture& a = model.architecture();
    model.embed(batch.ids, rows_.data());
    std::vector<float> x = rows_;
    if (!entry_.empty()) {
      const std::span<const float> y = tape_.forward(of_entry_, batch.count, rows_);
      x.assign(y.begin(), y.end());
    }
    for (int64_t layer = 0; layer < a.layers(); ++layer) {
      if (keep) states.push_back(x);
      block_forward(a, layer, model.weights(layer), arithmetic, batch.count, batch.length, x.data());
    }
    states.push_back(std::move(x));
  }
  // The gradient of the rows of the embedding.
  std::vector<float> back(std::vector<float> d) {
    if (entry_.empty()) return d;
    WeightGradients none{.ops = std::vector<WeightGradients::OfOp>(entry_.size())};
    return tape_.backward(d, none);
  }

  std::vector<std::vector<float>> states;

 private:
  Ops entry_;
  BlockWeights of_entry_;
  Tape tape_;
  std::vector<float> rows_;
};

// The loss, summed over the scored positions; back(begin, gradient of the logits, tape) goes back.
template <class Back>
double through_head(TrainedModel& model, const Windows& batch, Loss& loss, const Arithmetic& arithmetic, double weight,
                    std::span<const float> x, Back&& back) {
  const Architecture& a = model.architecture();
  const BlockWeights weights = model.weights(-1);
  Tape head(a, a.after, arithmetic, 1);
  std::vector<float> d;
  double sum = 0;
  for (int64_t begin = 0; begin < batch.tokens(); begin += kHeadTokens) {
    const int64_t count = std::min(kHeadTokens, batch.tokens() - begin);
    const std::span<const float> y = head.forward(
        weights, count, x.subspan(static_cast<size_t>(begin * a.hidden()), static_cast<size_t>(count * a.hidden())));
    d.resize(y.size());
    sum += loss.gradient(batch, begin, count, weight, y, d);
    back(begin, d, head);
  }
  return sum;
}

double weight_of(const Windows& batch) { return 1 / static_cast<double>(std::max<int64_t>(1, batch.learned())); }

}  // namespace

double mean_loss(TrainedModel& model, const Windows& batch, Loss& loss, const Arithmetic& arithmetic) {
  const WayThere there(model, batch, arithmetic, false);
  const auto no_way_back = [](int64_t, std::span<const float>, Tape&) {};
  const double weight = weight_of(batch);
  return weight * through_head(model, batch, loss, arithmetic, weight, there.states.back(), no_way_back);
}

double add_gradients(TrainedModel& model, const Windows& batch, Loss& loss, const Arithmetic& arithmetic) {
  const Architecture& a = model.architecture();
  WayThere there(model, batch, arithmetic, true);
  const double weight = weight_of(batch);
  std::vector<float> d(there.states.back().size());
  WeightGradients of_head = model.wanted(-1);
  const double sum = through_head(model, batch, loss, arithmetic, weight, there.states.back(),
                                  [&](int64_t begin, std::span<const float> d_logits, Tape& head) {
                                    const std::vector<float> back = head.backward(d_logits, of_head);
                                    std::copy(back.begin(), back.end(), d.begin() + begin * a.hidden());
                                  });
  model.take(-1, std::move(of_head));
  std::vector<Tape> tapes;  // one per kind of layer
  for (const Ops& kind : a.kinds) tapes.emplace_back(a, kind, arithmetic, batch.length);
  for (int64_t layer = a.layers(); layer-- > 0;) {
    Tape& tape = tapes[a.kind_of_layer[static_cast<size_t>(layer)]];
    const BlockWeights weights = model.weights(layer);
    WeightGradients gradients = model.wanted(layer);
    tape.forward(weights, batch.count, there.states[static_cast<size_t>(layer)]);
    d = tape.backward(d, gradients);
    model.take(layer, std::move(gradients));
  }
  model.take_embedded(batch.ids, there.back(std::move(d)));
  return sum * weight;
}

}  // namespace kerf
