// The way back through each operation beside differences of its definition, and through whole models beside PyTorch's
// (goldens/gradient, made by make.py there).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/parallel.h"
#include "model/run/fast_linear.h"
#include "model/run/tape.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

using Numbers = std::vector<double>;

// Uniform in (-1, 1) from a counter.
Numbers numbers(size_t n, uint64_t seed) {
  Numbers v;
  for (size_t i = 0; i < n; ++i)
    v.push_back(static_cast<double>(test::splitmix64(seed * 1000003 + i) >> 11) * 0x1p-52 - 1);
  return v;
}
std::vector<float> floats(const Numbers& v) { return {v.begin(), v.end()}; }

constexpr int64_t kWindows = 2, kLength = 7;
constexpr size_t kTokens = kWindows * kLength;

// An operation, and the same by its definition in architecture.h: parts are its inputs, then the matrix, the weight and
// the bias where it has them.
struct Case {
  std::string name;
  Architecture arch;
  Op op;
  std::vector<Numbers> inputs;
  Numbers matrix = {}, weight = {}, bias = {};
  std::function<Numbers(const std::vector<Numbers>& parts)> definition;
};

Architecture with_axes() {
  Architecture a;
  a.axes = {{"hidden", 10}, {"head", 24, 4}, {"kv", 12, 2}, {"ffn", 6}};
  return a;
}
constexpr AxisId kHiddenAxis = 0, kHead = 1, kKv = 2, kFfn = 3;

Case norm_case(std::string name, Norm norm, AxisId axis) {
  Case c{.name = std::move(name), .arch = with_axes(), .op = {}, .inputs = {}};
  const Axis& ax = c.arch.axis(axis);
  const auto n = static_cast<size_t>(norm.per_group ? ax.group_size() : ax.size), size = static_cast<size_t>(ax.size);
  norm.eps = 0.01;
  c.weight = numbers(n, 2);
  if (norm.bias) c.bias = numbers(n, 3);
  c.inputs = {numbers(kTokens * size, 1)};
  c.op = {.what = norm, .inputs = {"x"}, .output = "y", .axis = axis};
  c.definition = [norm, n](const std::vector<Numbers>& p) {
    Numbers y(p[0].size());
    for (size_t begin = 0; begin < y.size(); begin += n) {
      double mean = 0, squares = 0;
      for (size_t i = 0; i < n && norm.kind == Norm::Kind::layer; ++i) mean += p[0][begin + i] / static_cast<double>(n);
      for (size_t i = 0; i < n; ++i) squares += std::pow(p[0][begin + i] - mean, 2) / static_cast<double>(n);
      for (size_t i = 0; i < n; ++i)
        y[begin + i] = (p[0][begin + i] - mean) / std::sqrt(squares + norm.eps) * p[1][i] + (norm.bias ? p[2][i] : 0);
    }
    return y;
  };
  return c;
}

Case matmul_case(bool bias) {
  Case c{.name = bias ? "matmul_bias" : "matmul", .arch = with_axes(), .op = {}, .inputs = {}};
  MatMul m{.in = kHiddenAxis, .weight = {.role = "w", .shape = {6, 10}, .checkpoint = {}, .gguf = {}}};
  if (bias) m.bias = m.weight;
  c.matrix = numbers(60, 2);
  if (bias) c.bias = numbers(6, 3);
  c.inputs = {numbers(kTokens * 10, 1)};
  c.op = {.what = m, .inputs = {"x"}, .output = "y", .axis = kFfn};
  c.definition = [bias](const std::vector<Numbers>& p) {
    Numbers y(kTokens * 6);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t r = 0; r < 6; ++r) {
        y[t * 6 + r] = bias ? p[2][r] : 0;
        for (size_t k = 0; k < 10; ++k) y[t * 6 + r] += p[0][t * 10 + k] * p[1][r * 10 + k];
      }
    return y;
  };
  return c;
}

Case rope_case(int64_t rotated, double factor) {
  Case c{.name = fmt::format("rope_{}", rotated), .arch = with_axes(), .op = {}, .inputs = {}};
  const Rope rope{.table = {.theta = 50, .attention_factor = factor}, .rotated = rotated};
  c.inputs = {numbers(kTokens * 24, 1)};
  c.op = {.what = rope, .inputs = {"x"}, .output = "y", .axis = kHead};
  c.definition = [rotated, factor](const std::vector<Numbers>& p) {
    Numbers y = p[0];
    const auto half = static_cast<size_t>(rotated / 2);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t h = 0; h < 4; ++h)
        for (size_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(t % kLength) *
                               std::pow(50.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotated));
          const size_t a = t * 24 + h * 6 + i, b = a + half;
          y[a] = factor * (p[0][a] * std::cos(angle) - p[0][b] * std::sin(angle));
          y[b] = factor * (p[0][b] * std::cos(angle) + p[0][a] * std::sin(angle));
        }
    return y;
  };
  return c;
}

Case attend_case(int64_t window, double softcap) {
  Case c{.name = fmt::format("attend_window{}_cap{}", window, softcap), .arch = with_axes(), .op = {}, .inputs = {}};
  const double scale = 1.5;
  c.inputs = {numbers(kTokens * 24, 1), numbers(kTokens * 12, 2), numbers(kTokens * 12, 3)};
  c.op = {.what = Attend{.kv = kKv, .window = window, .scale = scale, .softcap = softcap},
          .inputs = {"q", "k", "v"},
          .output = "y",
          .axis = kHead};
  c.definition = [=](const std::vector<Numbers>& p) {
    Numbers y(kTokens * 24);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t h = 0; h < 4; ++h) {
        const size_t begin = t / kLength * kLength, kv = h / 2;
        Numbers scores;
        double sum = 0;
        size_t first = begin;
        if (window > 0 && t + 1 > begin + static_cast<size_t>(window)) first = t + 1 - static_cast<size_t>(window);
        for (size_t s = first; s <= t; ++s) {
          double score = 0;
          for (size_t i = 0; i < 6; ++i) score += p[0][t * 24 + h * 6 + i] * p[1][s * 12 + kv * 6 + i];
          score *= scale;
          if (softcap > 0) score = softcap * std::tanh(score / softcap);
          scores.push_back(std::exp(score));
          sum += scores.back();
        }
        for (size_t s = first; s <= t; ++s)
          for (size_t i = 0; i < 6; ++i) y[t * 24 + h * 6 + i] += scores[s - first] / sum * p[2][s * 12 + kv * 6 + i];
      }
    return y;
  };
  return c;
}

Case activate_case(Activation f, bool gated) {
  Case c{.name = fmt::format("activate_{}{}", f == Activation::silu ? "silu" : "gelu", gated ? "_gated" : ""),
         .arch = with_axes(),
         .op = {},
         .inputs = {}};
  c.inputs = {numbers(kTokens * 6, 1)};
  for (double& x : c.inputs[0]) x *= 4;
  if (gated) c.inputs.push_back(numbers(kTokens * 6, 2));
  c.op = {.what = Activate{f}, .inputs = {"g"}, .output = "y", .axis = kFfn};
  if (gated) c.op.inputs.emplace_back("u");
  c.definition = [=](const std::vector<Numbers>& p) {
    Numbers y;
    for (size_t i = 0; i < p[0].size(); ++i) {
      const double x = p[0][i];
      const double value = f == Activation::silu
                               ? x / (1 + std::exp(-x))
                               : x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      y.push_back(gated ? value * p[1][i] : value);
    }
    return y;
  };
  return c;
}

Case pointwise_case(std::string name, decltype(Op::what) what, size_t inputs,
                    std::function<double(double, double)> of) {
  Case c{.name = std::move(name), .arch = with_axes(), .op = {}, .inputs = {}};
  c.op = {.what = std::move(what), .inputs = {}, .output = "y", .axis = kFfn};
  for (size_t i = 0; i < inputs; ++i) {
    c.inputs.push_back(numbers(kTokens * 6, i + 1));
    c.op.inputs.push_back(fmt::format("in{}", i));
  }
  c.definition = [of = std::move(of)](const std::vector<Numbers>& p) {
    Numbers y;
    for (size_t i = 0; i < p[0].size(); ++i) y.push_back(of(p[0][i], p.back()[i]));
    return y;
  };
  return c;
}

std::vector<Case> cases() {
  const Param bias{.role = "b", .shape = {}, .checkpoint = {}, .gguf = {}};
  return {
      norm_case("rms_norm", {.weight = {}}, kHiddenAxis),
      norm_case("rms_norm_of_heads", {.per_group = true, .weight = {}}, kHead),
      norm_case("layer_norm", {.kind = Norm::Kind::layer, .weight = {}, .bias = bias}, kHiddenAxis),
      matmul_case(false),
      matmul_case(true),
      rope_case(6, 1),
      rope_case(4, 1.3),
      attend_case(0, 0),
      attend_case(3, 0),
      attend_case(0, 2),
      attend_case(4, 2),
      activate_case(Activation::silu, true),
      activate_case(Activation::silu, false),
      activate_case(Activation::gelu_tanh, true),
      activate_case(Activation::gelu_tanh, false),
      pointwise_case("scale", Scale{.by = 1.7, .round_factor = false}, 1, [](double x, double) { return 1.7 * x; }),
      pointwise_case("cap", Cap{.at = 0.8}, 1, [](double x, double) { return 0.8 * std::tanh(x / 0.8); }),
      pointwise_case("add", Add{}, 2, [](double x, double y) { return x + y; }),
  };
}

class Backward : public testing::TestWithParam<Case> {};

TEST_P(Backward, IsTheSlopeOfTheDefinition) {
  const Case& c = GetParam();
  std::vector<Numbers> parts = c.inputs;
  for (const Numbers* w : {&c.matrix, &c.weight, &c.bias})
    if (!w->empty()) parts.push_back(*w);
  const OpRunner runner(c.arch, {c.op}, {}, kLength);
  BlockWeights::OfOp weights{.linear = nullptr, .weight = floats(c.weight), .bias = floats(c.bias)};
  if (const MatMul* m = c.op.as<MatMul>())
    weights.linear = float_linear(floats(c.matrix), m->weight.shape[0], m->weight.shape[1]);
  std::vector<std::vector<float>> in, d_in;
  std::vector<const float*> in_data;
  std::vector<float*> d_in_data;
  for (const Numbers& input : c.inputs) in.push_back(floats(input));
  for (const auto& input : in) d_in.emplace_back(input.size(), 0.5F);  // which gradients are added to
  for (size_t i = 0; i < in.size(); ++i) {
    in_data.push_back(in[i].data());
    d_in_data.push_back(d_in[i].data());
  }
  const Numbers expected = c.definition(parts), slopes = numbers(expected.size(), 9);
  const std::vector<float> d_out = floats(slopes);
  std::vector<float> out(expected.size()), d_matrix(c.matrix.size(), 0.5F), d_weight(c.weight.size(), 0.5F),
      d_bias(c.bias.size(), 0.5F);
  runner.apply(0, weights, kWindows, in_data, out.data());
  for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 1e-5) << i;
  runner.backward(0, weights, kWindows, in_data, out.data(),
                  {.d_out = d_out.data(),
                   .d_in = d_in_data,
                   .d_linear = d_matrix.empty() ? nullptr : d_matrix.data(),
                   .d_weight = d_weight.empty() ? nullptr : d_weight.data(),
                   .d_bias = d_bias.empty() ? nullptr : d_bias.data()});
  std::vector<std::vector<float>> gradients = d_in;
  for (const auto* d : {&d_matrix, &d_weight, &d_bias})
    if (!d->empty()) gradients.push_back(*d);
  ASSERT_EQ(gradients.size(), parts.size());
  const auto loss = [&] {
    const Numbers y = c.definition(parts);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += slopes[i] * y[i];
    return sum;
  };
  constexpr double kStep = 1e-4;
  for (size_t p = 0; p < parts.size(); ++p)
    for (size_t i = 0; i < parts[p].size(); i += 1 + parts[p].size() / 61) {
      const double x = parts[p][i];
      parts[p][i] = x + kStep;
      const double above = loss();
      parts[p][i] = x - kStep;
      const double below = loss();
      parts[p][i] = x;
      const double slope = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradients[p][i] - 0.5, slope, 2e-5 * (1 + std::fabs(slope))) << "part " << p << " at " << i;
    }
  // What is not wanted is left out.
  std::vector<float*> none(in.size(), nullptr);
  runner.backward(0, weights, kWindows, in_data, out.data(), {.d_out = d_out.data(), .d_in = none});
}
INSTANTIATE_TEST_SUITE_P(OfEachOperation, Backward, testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.name; });

TEST(Backward, OfAttentionOverSeveralBlocksOfQueriesIsThatOfShortOnes) {
  // Windows of one length are cut into blocks of queries; what a later token's gradient is to earlier ones crosses
  // them.
  const Architecture a = with_axes();
  constexpr int64_t kLong = 300;
  const Op op{
      .what = Attend{.kv = kKv, .window = 0, .scale = 0.4}, .inputs = {"q", "k", "v"}, .output = "y", .axis = kHead};
  const OpRunner runner(a, {op}, {}, kLong);
  std::vector<std::vector<float>> in = {floats(numbers(kLong * 24, 1)), floats(numbers(kLong * 12, 2)),
                                        floats(numbers(kLong * 12, 3))};
  const Numbers slopes = numbers(kLong * 24, 9);
  const auto loss = [&] {
    std::vector<float> y(kLong * 24);
    const float* data[] = {in[0].data(), in[1].data(), in[2].data()};
    runner.apply(0, {}, 1, data, y.data());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += slopes[i] * static_cast<double>(y[i]);
    return sum;
  };
  std::vector<float> y(kLong * 24), dq(kLong * 24), dk(kLong * 12), dv(kLong * 12);
  const float* data[] = {in[0].data(), in[1].data(), in[2].data()};
  float* d_in[] = {dq.data(), dk.data(), dv.data()};
  const std::vector<float> d_out = floats(slopes);
  runner.apply(0, {}, 1, data, y.data());
  runner.backward(0, {}, 1, data, y.data(), {.d_out = d_out.data(), .d_in = d_in});
  // Along a direction: differences of float32 sums are too coarse for single numbers.
  for (size_t p = 0; p < 3; ++p) {
    const std::vector<float> before = in[p], direction = floats(numbers(before.size(), 20 + p));
    double along = 0;
    for (size_t i = 0; i < before.size(); ++i)
      along += static_cast<double>(d_in[p][i]) * static_cast<double>(direction[i]);
    constexpr float kStep = 1e-2F;
    const auto moved = [&](float by) {
      for (size_t i = 0; i < before.size(); ++i) in[p][i] = before[i] + by * direction[i];
      const double l = loss();
      in[p] = before;
      return l;
    };
    EXPECT_NEAR((moved(kStep) - moved(-kStep)) / (2 * static_cast<double>(kStep)), along, 2e-3 * (1 + std::fabs(along)))
        << p;
  }
}

}  // namespace
}  // namespace kerf
