#include "pipeline/distill/original_weights.h"

#include <cmath>

#include "model/ops/folds.h"
#include "model/run/weights.h"

namespace kerf {

OriginalWeights::OriginalWeights(const Artifact& source, const Artifact& packed) : source_(source), packed_(packed) {
  const Architecture& a = packed.architecture;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) {
      sites_.emplace(site.name, site);
      if (const auto fold = fold_before(a, site); fold && !fold->site.empty()) folded_into_.insert(fold->site);
    }
}

std::vector<float> OriginalWeights::values(const std::string& name) const {
  const TensorInfo *was = source_.weights->find(name), *is = packed_.weights->find(name);
  if (!was || !is || was->shape != is->shape) return {};
  const auto at = sites_.find(name);
  if (at == sites_.end()) return read_vector(*source_.weights, name);
  std::vector<float> w = with_scaled_columns(at->second);
  if (!folded_into_.contains(name)) return w;
  const std::vector<float> scales = row_scales(at->second, w);
  for (size_t r = 0, i = 0; r < scales.size(); ++r)
    for (int64_t c = 0; c < at->second.in; ++c) w[i++] *= scales[r];
  return w;
}

std::vector<float> OriginalWeights::with_scaled_columns(const Site& site) const {
  std::vector<float> w = read_vector(*source_.weights, site.name);
  const std::vector<float> scales = column_scales(site);
  if (scales.empty()) return w;
  for (size_t i = 0; i < w.size(); ++i) w[i] *= scales[i % scales.size()];
  return w;
}

std::vector<float> OriginalWeights::column_scales(const Site& site) const {
  const std::optional<Fold> fold = fold_before(packed_.architecture, site);
  if (!fold) return {};
  std::vector<float> of_producer;
  if (!fold->norm.empty()) {
    of_producer = read_vector(*source_.weights, fold->norm);
    const std::vector<float> is = read_vector(*packed_.weights, fold->norm);
    if (is.size() != of_producer.size()) return {};
    for (size_t c = 0; c < is.size(); ++c)
      of_producer[c] = is[c] != 0 && of_producer[c] != 0 ? of_producer[c] / is[c] : 1;
  } else {
    const Site& producer = sites_.at(fold->site);
    of_producer = row_scales(producer, with_scaled_columns(producer));
    for (float& s : of_producer) s = 1 / s;
  }
  std::vector<float> scales;
  for (const int64_t c : fold->source) scales.push_back(of_producer[static_cast<size_t>(c)]);
  return scales;
}

// What rows were multiplied by: the powers of two nearest to how much of the wanted row stands in the packed one.
std::vector<float> OriginalWeights::row_scales(const Site& site, std::span<const float> wanted) const {
  const std::vector<float> is = read_vector(*packed_.weights, site.name);
  std::vector<float> scales(static_cast<size_t>(site.out), 1.0F);
  for (int64_t r = 0; r < site.out; ++r) {
    double product = 0, square = 0;
    for (auto i = static_cast<size_t>(r * site.in); i < static_cast<size_t>((r + 1) * site.in); ++i) {
      product += static_cast<double>(is[i]) * static_cast<double>(wanted[i]);
      square += static_cast<double>(wanted[i]) * static_cast<double>(wanted[i]);
    }
    if (square > 0 && product > 0)
      scales[static_cast<size_t>(r)] = std::exp2(static_cast<float>(std::lround(std::log2(product / square))));
  }
  return scales;
}

}  // namespace kerf
