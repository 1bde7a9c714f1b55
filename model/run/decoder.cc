// Every operation but two sees a window of one token: rotations take the angles of its position, and attention looks
// back into the cache, in which the keys of a head lie by channel, so that the scores of many positions are one row.
#include "model/run/decoder.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/run/fast_linear.h"

namespace kerf {
namespace {

constexpr int64_t kTextsOfGroup = 64;

// Of one attention of one layer: keys [texts, kv heads, head_dim, longest], values [texts, longest, kv width].
struct Cache {
  std::vector<float> keys, values;
};

}  // namespace

// Texts that one thread goes on with.
struct Decoder::Group {
  const Architecture& a;
  const int64_t texts, longest;
  int64_t position = 0;
  std::map<std::pair<int64_t, size_t>, Cache> caches = {};  // by layer and operation
  std::map<const Op*, std::vector<float>> tables = {};      // of all positions, as Operation::table() has it
  std::map<std::string, std::vector<float>> slots = {};
  std::vector<float> table = {};  // of the position at hand

  void run(const Ops& ops, const BlockWeights& w, int64_t layer);
  void attend(const Op& op, Cache& cache, const std::vector<float>& q, const std::vector<float>& k,
              const std::vector<float>& v, std::vector<float>& out) const;
  std::span<const float> table_of(const Op& op);
};

// The row of this position: cosines, then sines.
std::span<const float> Decoder::Group::table_of(const Op& op) {
  const Operation& o = operation(op);
  if (!o.table) return {};
  std::vector<float>& all = tables[&op];
  if (all.empty()) all = o.table(op, longest, Rounding::none, false);
  const auto half = static_cast<std::ptrdiff_t>(all.size()) / 2, row = half / longest;
  table.assign(all.begin() + position * row, all.begin() + (position + 1) * row);
  table.insert(table.end(), all.begin() + half + position * row, all.begin() + half + (position + 1) * row);
  return table;
}

void Decoder::Group::attend(const Op& op, Cache& cache, const std::vector<float>& q, const std::vector<float>& k,
                            const std::vector<float>& v, std::vector<float>& out) const {
  const Attend& how = *op.as<Attend>();
  const Axis &heads = a.axis(op.axis), &kv = a.axis(how.kv);
  const int64_t dim = heads.group_size(), per_kv = heads.groups / kv.groups;
  if (cache.keys.empty()) {
    cache.keys.resize(static_cast<size_t>(texts * kv.size * longest));
    cache.values.resize(cache.keys.size());
  }
  const int64_t first = how.window > 0 && position >= how.window ? position - how.window + 1 : 0;
  const int64_t n = position + 1 - first;
  for (int64_t text = 0; text < texts; ++text) {
    float* keys = cache.keys.data() + text * kv.size * longest;
    float* values = cache.values.data() + text * longest * kv.size;
    for (int64_t c = 0; c < kv.size; ++c) keys[c * longest + position] = k[static_cast<size_t>(text * kv.size + c)];
    std::copy_n(v.begin() + text * kv.size, kv.size, values + position * kv.size);
    std::vector<float> scores(static_cast<size_t>(n));
    for (int64_t h = 0; h < heads.groups; ++h) {
      const float* query = q.data() + text * heads.size + h * dim;
      float* to = out.data() + text * heads.size + h * dim;
      const int64_t group = h / per_kv;
      std::fill(scores.begin(), scores.end(), 0.0F);
      for (int64_t c = 0; c < dim; ++c) {
        const float* row = keys + (group * dim + c) * longest + first;
        for (int64_t s = 0; s < n; ++s) scores[static_cast<size_t>(s)] += query[c] * row[s];
      }
      auto scale = static_cast<float>(how.scale);
      if (how.softcap != 0) {
        const auto cap = static_cast<float>(how.softcap);
        for (float& s : scores) s = cap * std::tanh(s * scale / cap);
        scale = 1;
      }
      elementwise().softmax(scores.data(), n, n, scale, false, Rounding::none);
      std::fill_n(to, dim, 0.0F);
      for (int64_t s = 0; s < n; ++s) {
        const float* row = values + (first + s) * kv.size + group * dim;
        for (int64_t c = 0; c < dim; ++c) to[c] += scores[static_cast<size_t>(s)] * row[c];
      }
    }
  }
}

void Decoder::Group::run(const Ops& ops, const BlockWeights& w, int64_t layer) {
  for (size_t i = 0; i < ops.size(); ++i) {
    const Op& op = ops[i];
    std::vector<float> out(static_cast<size_t>(texts * a.axis(op.axis).size));
    if (op.as<Attend>()) {
      attend(op, caches[{layer, i}], slots.at(op.inputs[0]), slots.at(op.inputs[1]), slots.at(op.inputs[2]), out);
    } else {
      std::vector<const float*> in;
      for (const std::string& slot : op.inputs) in.push_back(slots.at(slot).data());
      const BlockWeights::OfOp& own = w.ops[i];
      operation(op).forward(
          {.arch = a,
           .op = op,
           .weights = {.linear = own.linear.get(), .weight = own.weight, .bias = own.bias, .table = table_of(op)},
           .rounding = {},
           .windows = texts,
           .length = 1,
           .in = in,
           .out = out.data()});
    }
    slots[op.output] = std::move(out);
  }
}

Decoder::Decoder(const Architecture& a, const TensorSource& source, int64_t texts, int64_t longest)
    : arch_(a), texts_(texts), weights_(dense_weights(a, source)), entry_(a.after_embedding()) {
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    blocks_.push_back(load_fast_ops(a, *weights_, source, a.block(layer), layer));
  after_ = load_fast_ops(a, *weights_, source, a.after, -1);
  for (int64_t first = 0; first < texts; first += kTextsOfGroup)
    groups_.push_back(std::make_unique<Group>(Group{a, std::min(kTextsOfGroup, texts - first), longest}));
}

Decoder::~Decoder() = default;

void Decoder::restart() {
  for (const auto& g : groups_) g->position = 0;
}

std::span<const float> Decoder::next(std::span<const int32_t> ids) {
  const int64_t hidden = arch_.hidden(), vocab = arch_.vocab();
  rows_.resize(static_cast<size_t>(texts_ * hidden));
  logits_.resize(static_cast<size_t>(texts_ * vocab));
  weights_->embed(ids, rows_.data());
  parallel_for(std::ssize(groups_), [&](int64_t i) {
    Group& g = *groups_[static_cast<size_t>(i)];
    if (g.position >= g.longest) fail(ErrorKind::internal, "a text of {} tokens is full", g.longest);
    const int64_t first = i * kTextsOfGroup;
    g.slots["x"].assign(rows_.begin() + first * hidden, rows_.begin() + (first + g.texts) * hidden);
    g.run(entry_, {.ops = std::vector<BlockWeights::OfOp>(entry_.size()), .sites = {}}, -1);
    for (int64_t layer = 0; layer < arch_.layers(); ++layer)
      g.run(arch_.block(layer), blocks_[static_cast<size_t>(layer)], layer);
    g.run(arch_.after, after_, arch_.layers());
    const std::vector<float>& of_group = g.slots.at(arch_.after.back().output);
    std::copy(of_group.begin(), of_group.end(), logits_.begin() + first * vocab);
    ++g.position;
  });
  return logits_;
}

}  // namespace kerf
