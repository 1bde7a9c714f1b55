#include "distill/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/parallel.h"

namespace kerf {
namespace {

constexpr size_t kAtOnce = 1 << 15;
constexpr float kTiny = 1e-12F;
constexpr double kLast = 0.05;  // of the rate, at the end of a schedule

template <class F>
void for_pieces(size_t n, F&& of) {
  parallel_for(static_cast<int64_t>((n + kAtOnce - 1) / kAtOnce), [&](int64_t i) {
    const size_t begin = static_cast<size_t>(i) * kAtOnce;
    of(begin, std::min(n, begin + kAtOnce));
  });
}

// In units, so that parameters of all sizes count alike.
double squares_of(const Parameter& p) {
  std::vector<double> parts((p.gradient.size() + kAtOnce - 1) / kAtOnce);
  for_pieces(p.gradient.size(), [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += static_cast<double>(p.gradient[i]) * static_cast<double>(p.gradient[i]);
    parts[begin / kAtOnce] = sum;
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum * static_cast<double>(p.unit) * static_cast<double>(p.unit);
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter> parameters, OptimizerOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const Parameter& p : parameters_) {
    first_.emplace_back(p.code ? 0 : p.values.size());
    second_.emplace_back(p.code ? 0 : p.values.size());
  }
}

double Optimizer::step(double rate, double rate_of_codes) {
  ++steps_;
  double squares = 0;
  for (const Parameter& p : parameters_)
    if (!p.code) squares += squares_of(p);
  const double length = std::sqrt(squares);
  const auto shorter = static_cast<float>(length > options_.clip ? options_.clip / length : 1);
  const auto n = static_cast<double>(steps_);
  const double correct1 = 1 - std::pow(options_.beta1, n), correct2 = 1 - std::pow(options_.beta2, n);
  const auto b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2);
  for (size_t k = 0; k < parameters_.size(); ++k) {
    Parameter& p = parameters_[k];
    const auto by = static_cast<float>(rate_of_codes);
    const auto scaled = static_cast<float>(rate * static_cast<double>(p.unit) / correct1),
               root = static_cast<float>(1 / correct2);
    for_pieces(p.values.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const float g = p.gradient[i];
        p.gradient[i] = 0;
        float& x = p.values[i];
        if (p.code) {
          x -= g > 0 ? by : g < 0 ? -by : 0;
          continue;
        }
        float &m = first_[k][i], &v = second_[k][i];
        m = b1 * m + (1 - b1) * (g * shorter);
        v = b2 * v + (1 - b2) * (g * shorter) * (g * shorter);
        x -= scaled * m / (std::sqrt(v * root) + kTiny);
      }
    });
  }
  return length;
}

std::vector<float> Optimizer::values() const {
  std::vector<float> all;
  for (const Parameter& p : parameters_) all.insert(all.end(), p.values.begin(), p.values.end());
  return all;
}

void Optimizer::set_values(const std::vector<float>& all) {
  auto from = all.begin();
  for (const Parameter& p : parameters_) {
    if (all.end() - from < std::ssize(p.values)) fail(ErrorKind::bad_input, "a saved state has too few parameters");
    std::copy_n(from, p.values.size(), p.values.begin());
    from += std::ssize(p.values);
  }
  if (from != all.end()) fail(ErrorKind::bad_input, "a saved state has too many parameters");
}

Optimizer::State Optimizer::state() const {
  State s{.values = values(), .first = {}, .second = {}, .steps = steps_};
  for (const auto& m : first_) s.first.insert(s.first.end(), m.begin(), m.end());
  for (const auto& v : second_) s.second.insert(s.second.end(), v.begin(), v.end());
  return s;
}

void Optimizer::restore(const State& s) {
  set_values(s.values);
  const auto take = [](const std::vector<float>& all, std::vector<std::vector<float>>& to) {
    auto from = all.begin();
    for (auto& part : to) {
      if (all.end() - from < std::ssize(part)) fail(ErrorKind::bad_input, "a saved state has too few moments");
      std::copy_n(from, part.size(), part.begin());
      from += std::ssize(part);
    }
  };
  take(s.first, first_);
  take(s.second, second_);
  steps_ = s.steps;
}

double scheduled(double rate, int64_t step, int64_t steps, double warmup) {
  const double rise = std::max(1.0, std::ceil(warmup * static_cast<double>(steps)));
  const auto at = static_cast<double>(step);
  if (at < rise) return rate * (at + 1) / rise;
  const double left = std::max(1.0, static_cast<double>(steps) - rise);
  return rate * (kLast + (1 - kLast) * 0.5 * (1 + std::cos(std::numbers::pi * (at - rise) / left)));
}

}  // namespace kerf
