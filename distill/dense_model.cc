// Tensors by name; an operation asks for its own by what the architecture calls them.
#include "distill/dense_model.h"

#include <algorithm>

#include "model/run/fast_linear.h"
#include "model/run/weights.h"

namespace kerf {
namespace {

// The names of an operation's weights in the checkpoint; "" where it has none.
struct Names {
  std::string linear, weight, bias;
};
Names names_of(const Architecture& a, const Op& op, int64_t layer) {
  if (const Norm* n = op.as<Norm>())
    return {.weight = weight_name(n->weight, layer), .bias = n->bias ? weight_name(*n->bias, layer) : ""};
  if (const MatMul* m = op.as<MatMul>())
    return {.linear = layer < 0 ? a.head().name : site_of(a, op, layer).name,
            .bias = m->bias ? weight_name(*m->bias, layer) : ""};
  return {};
}

void add_to(std::vector<float>& to, const std::vector<float>& from) {
  for (size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

}  // namespace

DenseModel::DenseModel(const Architecture& a, const TensorSource& source, bool exact) : arch_(a), exact_(exact) {
  const auto add = [&](const std::string& name) {
    if (name.empty() || tensors_.contains(name)) return;
    std::vector<float> values = read_vector(source, name);
    tensors_[name] = {.values = values, .gradient = std::vector<float>(values.size())};
  };
  add(arch_.embedding().name);
  for (int64_t layer = -1; layer < arch_.layers(); ++layer)
    for (const Op& op : ops_of(layer)) {
      const Names names = names_of(arch_, op, layer);
      for (const std::string* name : {&names.linear, &names.weight, &names.bias}) add(*name);
    }
}

BlockWeights DenseModel::weights(int64_t layer) {
  BlockWeights b;
  const auto values = [&](const std::string& name) {
    return name.empty() ? std::vector<float>() : tensors_.at(name).values;
  };
  for (const Op& op : ops_of(layer)) {
    const Names names = names_of(arch_, op, layer);
    BlockWeights::OfOp w{.linear = nullptr, .weight = values(names.weight), .bias = values(names.bias)};
    if (!names.linear.empty()) {
      b.sites.push_back(site_of(arch_, op, layer));
      const Site& s = b.sites.back();
      w.linear = (exact_ ? float_linear : fast_linear)(values(names.linear), s.out, s.in);
    }
    b.ops.push_back(std::move(w));
  }
  return b;
}

WeightGradients DenseModel::wanted(int64_t layer) const {
  WeightGradients g;
  const auto zeros = [&](const std::string& name) {
    return std::vector<float>(name.empty() ? 0 : tensors_.at(name).values.size());
  };
  for (const Op& op : ops_of(layer)) {
    const Names names = names_of(arch_, op, layer);
    g.ops.push_back({zeros(names.linear), zeros(names.weight), zeros(names.bias)});
  }
  return g;
}

void DenseModel::take(int64_t layer, WeightGradients g) {
  for (size_t i = 0; i < g.ops.size(); ++i) {
    const Names names = names_of(arch_, ops_of(layer)[i], layer);
    if (!names.linear.empty()) add_to(tensors_.at(names.linear).gradient, g.ops[i].linear);
    if (!names.weight.empty()) add_to(tensors_.at(names.weight).gradient, g.ops[i].weight);
    if (!names.bias.empty()) add_to(tensors_.at(names.bias).gradient, g.ops[i].bias);
  }
}

void DenseModel::embed(std::span<const int32_t> ids, float* out) {
  const Site site = arch_.embedding();
  check_ids(ids, site.out);
  const std::vector<float>& rows = tensors_.at(site.name).values;
  for (size_t t = 0; t < ids.size(); ++t)
    std::copy_n(rows.begin() + ids[t] * site.in, site.in, out + static_cast<int64_t>(t) * site.in);
}

void DenseModel::take_embedded(std::span<const int32_t> ids, std::span<const float> d) {
  const Site site = arch_.embedding();
  std::vector<float>& gradient = tensors_.at(site.name).gradient;
  const auto width = static_cast<size_t>(site.in);
  for (size_t t = 0; t < ids.size(); ++t)
    for (size_t k = 0; k < width; ++k) gradient[static_cast<size_t>(ids[t]) * width + k] += d[t * width + k];
}

void DenseModel::clear() {
  for (auto& [name, tensor] : tensors_) std::fill(tensor.gradient.begin(), tensor.gradient.end(), 0.0F);
}

}  // namespace kerf
