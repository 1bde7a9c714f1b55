#include "tests/support/random_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/checked.h"

namespace kerf::test {
namespace {

uint64_t fnv1a(std::string_view name) {
  uint64_t h = 0xCBF29CE484222325;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return h;
}

std::vector<float> draw(const std::string& name, const std::vector<int64_t>& shape) {
  std::vector<float> v(static_cast<size_t>(checked_elements(shape, name)));
  const bool norm = shape.size() == 1 && name.ends_with(".weight");
  const double deviation = shape.size() == 1 ? 0.5 : 1.5 / std::sqrt(static_cast<double>(shape[1]));
  const uint64_t seed = fnv1a(name);
  for (size_t i = 0; i < v.size(); ++i) {
    const uint64_t bits = splitmix64(seed + i);
    if (norm) {
      v[i] = static_cast<float>(0.5 + static_cast<double>(bits >> 11) * 0x1p-53);
      continue;
    }
    double total = 0;
    for (int k = 0; k < 4; ++k) total += static_cast<double>((bits >> (16 * k)) & 0xFFFF);
    v[i] = static_cast<float>((total - 131070.0) * (deviation / 37837.0));
  }
  return v;
}

}  // namespace

uint64_t splitmix64(uint64_t counter) {
  uint64_t z = counter + 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

RandomCheckpoint::RandomCheckpoint(const Architecture& a, Dtype dtype) : dtype_(dtype) {
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& t : a.expected_tensors(layer)) {
      add(t.name, t.shape, t.plus);
    }
}

const TensorInfo* RandomCheckpoint::find(std::string_view name) const {
  const auto at = std::find_if(infos_.begin(), infos_.end(), [&](const TensorInfo& t) { return t.name == name; });
  return at == infos_.end() ? nullptr : &*at;
}

void RandomCheckpoint::read(const TensorInfo& info, int64_t row_begin, std::span<float> out) const {
  const std::vector<float>& v = values_.at(info.name);
  std::copy_n(v.begin() + row_begin * info.cols(), out.size(), out.begin());
  static std::mutex guard;
  const std::lock_guard lock(guard);
  largest_read = std::max(largest_read, static_cast<int64_t>(out.size()));
}

void RandomCheckpoint::add(const std::string& name, std::vector<int64_t> shape, float plus) {
  std::vector<float> v = draw(name, shape);
  if (plus != 0)
    for (float& x : v) x -= plus;  // drawn as it acts
  round_to(dtype_, v);
  values_[name] = std::move(v);
  infos_.push_back({.name = name, .dtype = dtype_, .shape = std::move(shape), .plus = plus});
}

void RandomCheckpoint::remove(const std::string& name) {
  infos_.erase(std::remove_if(infos_.begin(), infos_.end(), [&](const TensorInfo& t) { return t.name == name; }),
               infos_.end());
  values_.erase(name);
}

Windows random_windows(int64_t count, int64_t length, int64_t vocab) {
  Windows w{.count = count, .length = length, .ids = {}};
  for (int64_t i = 0; i < w.tokens(); ++i)
    w.ids.push_back(static_cast<int32_t>(splitmix64(static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab)));
  return w;
}

}  // namespace kerf::test
