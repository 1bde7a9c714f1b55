#include "distill/trained_tensor.h"

#include <algorithm>
#include <cmath>

namespace kerf {

float root_mean_square(std::span<const float> values) {
  double squares = 0;
  for (const float x : values) squares += static_cast<double>(x) * static_cast<double>(x);
  return static_cast<float>(std::sqrt(squares / static_cast<double>(std::max<size_t>(1, values.size()))));
}

PlainTensor::PlainTensor(std::vector<float> values, int64_t cols, bool trained, bool keep_zeros)
    : values_(std::move(values)), cols_(cols), trained_(trained) {
  if (!trained) return;
  gradient_.resize(values_.size());
  if (!keep_zeros || std::find(values_.begin(), values_.end(), 0.0F) == values_.end()) return;
  zero_.resize(values_.size());
  std::transform(values_.begin(), values_.end(), zero_.begin(), [](float x) { return x == 0 ? 1 : 0; });
}

void PlainTensor::row(int64_t r, std::span<float> out) const {
  std::copy_n(values_.begin() + r * cols_, cols_, out.begin());
}

void PlainTensor::add_gradient(std::span<const float> d) {
  for (size_t i = 0; i < d.size(); ++i) gradient_[i] += d[i];
}

void PlainTensor::add_row_gradient(int64_t r, std::span<const float> d) {
  for (size_t i = 0, at = static_cast<size_t>(r * cols_); i < d.size(); ++i) gradient_[at + i] += d[i];
}

std::vector<Parameter> PlainTensor::parameters() {
  if (!trained_) return {};
  const float rms = root_mean_square(values_);
  return {{.values = values_, .gradient = gradient_, .unit = rms > 0 ? rms : 0.01F}};
}

void PlainTensor::settle() {
  for (size_t i = 0; i < zero_.size(); ++i)
    if (zero_[i] != 0) values_[i] = 0;
}

}  // namespace kerf
