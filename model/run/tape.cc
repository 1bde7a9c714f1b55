// Every operation writes a buffer of its own, so nothing that the way back reads is overwritten.
#include "model/run/tape.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"

namespace kerf {
namespace {

std::vector<std::vector<int>> writers_of(const Ops& ops) {
  std::map<std::string, int> last = {{"x", -1}};
  std::vector<std::vector<int>> writers;
  for (size_t i = 0; i < ops.size(); ++i) {
    std::vector<int>& of_op = writers.emplace_back();
    for (const std::string& slot : ops[i].inputs) {
      if (!last.contains(slot)) fail(ErrorKind::internal, "an operation reads the slot {} before it is written", slot);
      of_op.push_back(last[slot]);
    }
    last[ops[i].output] = static_cast<int>(i);
  }
  return writers;
}

// Buffers that are handed out zeroed and come back.
class Pool {
 public:
  std::vector<float> take(size_t n) {
    std::vector<float> buffer;
    if (!free_.empty()) buffer = std::exchange(free_.back(), {}), free_.pop_back();
    buffer.assign(n, 0.0F);
    return buffer;
  }
  void give(std::vector<float> buffer) { free_.push_back(std::move(buffer)); }

 private:
  std::vector<std::vector<float>> free_;
};

float* data_of(std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

}  // namespace

Tape::Tape(const Architecture& a, const Ops& ops, const Arithmetic& arithmetic, int64_t length)
    : writers_(writers_of(ops)), arch_(a), ops_(ops), runner_(a, ops, arithmetic, length), length_(length) {
  if (arithmetic.order == SumOrder::ggml)
    fail(ErrorKind::internal, "there is no way back in llama.cpp's order of sums");
}

std::span<const float> Tape::forward(const BlockWeights& weights, int64_t windows, std::span<const float> x) {
  weights_ = &weights;
  x_ = x;
  windows_ = windows;
  values_.resize(ops_.size());
  std::vector<const float*> in;
  for (size_t i = 0; i < ops_.size(); ++i) {
    values_[i].resize(static_cast<size_t>(windows * length_ * arch_.axis(ops_[i].axis).size));
    in.clear();
    for (const int writer : writers_[i])
      in.push_back(writer < 0 ? x.data() : values_[static_cast<size_t>(writer)].data());
    runner_.apply(i, weights.ops[i], windows, in, values_[i].data());
  }
  return values_.back();
}

std::vector<float> Tape::backward(std::span<const float> d_result, WeightGradients& gradients) {
  if (!weights_) fail(ErrorKind::internal, "a way back without a way there");
  Pool pool;
  std::vector<float> d_x(x_.size());
  std::vector<std::vector<float>> d(ops_.size());  // of the operations' results; empty where nothing has come back yet
  d.back().assign(d_result.begin(), d_result.end());
  std::vector<const float*> in;
  std::vector<float*> d_in;
  for (size_t i = ops_.size(); i-- > 0;) {
    if (d[i].empty()) continue;  // nobody reads it
    in.clear();
    d_in.clear();
    for (const int writer : writers_[i]) {
      const auto w = static_cast<size_t>(writer);
      if (writer >= 0 && d[w].empty()) d[w] = pool.take(values_[w].size());
      in.push_back(writer < 0 ? x_.data() : values_[w].data());
      d_in.push_back(writer < 0 ? d_x.data() : d[w].data());
    }
    WeightGradients::OfOp& g = gradients.ops[i];
    if (g.result) g.result(d[i]);
    runner_.backward(i, weights_->ops[i], windows_, in, values_[i].data(),
                     {.d_out = d[i].data(),
                      .d_in = d_in,
                      .d_linear = data_of(g.linear),
                      .d_weight = data_of(g.weight),
                      .d_bias = data_of(g.bias)});
    pool.give(std::exchange(d[i], {}));
  }
  weights_ = nullptr;
  return d_x;
}

}  // namespace kerf
