// Tensors by name; an operation asks for its own by what the architecture calls them.
#include "distill/student.h"

#include <algorithm>
#include <set>

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

}  // namespace

Student::Student(const Architecture& a, const Make& make, bool exact) : arch_(a), exact_(exact) {
  const auto add = [&](const std::string& name, Role role) {
    if (!name.empty() && !tensors_.contains(name)) tensors_[name] = make(name, role);
  };
  add(arch_.embedding().name, Role::vocabulary);
  for (int64_t layer = -1; layer < arch_.layers(); ++layer)
    for (const Op& op : ops_of(layer)) {
      const Names names = names_of(arch_, op, layer);
      add(names.linear, layer < 0 ? Role::vocabulary : Role::matrix);
      add(names.weight, Role::vector);
      add(names.bias, Role::vector);
    }
}

std::shared_ptr<const Linear> Student::linear_of(const Site& s) {
  const TrainedTensor& tensor = *tensors_.at(s.name);
  const auto make = [&] { return (exact_ ? float_linear : fast_linear)(tensor.values(), s.out, s.in); };
  if (tensor.trained()) return make();
  std::shared_ptr<const Linear>& kept = unchanging_[s.name];
  if (!kept) kept = make();
  return kept;
}

BlockWeights Student::weights(int64_t layer) {
  BlockWeights b;
  const auto values = [&](const std::string& name) {
    return name.empty() ? std::vector<float>() : tensors_.at(name)->values();
  };
  for (const Op& op : ops_of(layer)) {
    const Names names = names_of(arch_, op, layer);
    BlockWeights::OfOp w{.linear = nullptr, .weight = values(names.weight), .bias = values(names.bias)};
    if (!names.linear.empty()) {
      b.sites.push_back(layer < 0 ? arch_.head() : site_of(arch_, op, layer));
      w.linear = linear_of(b.sites.back());
    }
    b.ops.push_back(std::move(w));
  }
  return b;
}

WeightGradients Student::wanted(int64_t layer) const {
  WeightGradients g;
  const auto zeros = [&](const std::string& name) {
    return std::vector<float>(name.empty() ? 0 : static_cast<size_t>(tensors_.at(name)->gradients_wanted()));
  };
  for (const Op& op : ops_of(layer)) {
    const Names names = names_of(arch_, op, layer);
    g.ops.push_back({zeros(names.linear), zeros(names.weight), zeros(names.bias)});
  }
  return g;
}

void Student::take(int64_t layer, WeightGradients g) {
  const auto add = [&](const std::string& name, const std::vector<float>& d) {
    if (!d.empty()) tensors_.at(name)->add_gradient(d);
  };
  for (size_t i = 0; i < g.ops.size(); ++i) {
    const Names names = names_of(arch_, ops_of(layer)[i], layer);
    add(names.linear, g.ops[i].linear);
    add(names.weight, g.ops[i].weight);
    add(names.bias, g.ops[i].bias);
  }
}

void Student::embed(std::span<const int32_t> ids, float* out) {
  const Site site = arch_.embedding();
  check_ids(ids, site.out);
  const TrainedTensor& rows = *tensors_.at(site.name);
  for (size_t t = 0; t < ids.size(); ++t)
    rows.row(ids[t], std::span(out + static_cast<int64_t>(t) * site.in, static_cast<size_t>(site.in)));
}

void Student::take_embedded(std::span<const int32_t> ids, std::span<const float> d) {
  const Site site = arch_.embedding();
  TrainedTensor& rows = *tensors_.at(site.name);
  if (!rows.trained()) return;
  const auto width = static_cast<size_t>(site.in);
  for (size_t t = 0; t < ids.size(); ++t) rows.add_row_gradient(ids[t], d.subspan(t * width, width));
}

std::vector<TrainedTensor*> Student::of_layer(int64_t layer) {
  std::set<std::string> names;
  if (layer < 0) names.insert(arch_.embedding().name);
  for (const Op& op : ops_of(layer)) {
    const Names of = names_of(arch_, op, layer);
    names.insert({of.linear, of.weight, of.bias});
  }
  names.erase("");
  std::vector<TrainedTensor*> tensors;
  for (const std::string& name : names) tensors.push_back(tensors_.at(name).get());
  return tensors;
}

std::vector<Parameter> Student::parameters() {
  std::vector<Parameter> all;
  for (auto& [name, tensor] : tensors_)
    for (const Parameter& p : tensor->parameters()) all.push_back(p);
  return all;
}

std::vector<Parameter> Student::parameters(int64_t layer) {
  std::vector<Parameter> all;
  for (TrainedTensor* tensor : of_layer(layer))
    for (const Parameter& p : tensor->parameters()) all.push_back(p);
  return all;
}

void Student::settle() {
  for (auto& [name, tensor] : tensors_) tensor->settle();
}

void Student::settle(int64_t layer) {
  for (TrainedTensor* tensor : of_layer(layer)) tensor->settle();
}

Student dense_student(const Architecture& a, const TensorSource& source, bool exact) {
  return {a,
          [&](const std::string& name, Student::Role) {
            return std::make_unique<PlainTensor>(read_vector(source, name), source.find(name)->cols(), true);
          },
          exact};
}

}  // namespace kerf
