// llama.cpp's float32 steps: the vector code against the definitions bit for bit, the definitions against doubles.
// (That they are llama.cpp's is for tests/interop to show, where the runtime itself computes.)
#include "kernels/gguf/ggml_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/cpu.h"
#include "core/dtype.h"
#include "kernels/gguf/ggml_flash.h"
#include "model/ops/ggml_attention.h"
#include "model/run/blockwise_forward.h"
#include "model/run/logits.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

std::vector<float> random_values(int64_t n, float scale, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i)
    v[i] = scale * static_cast<float>(static_cast<int64_t>(test::splitmix64(seed * 1000003 + i) >> 40) - (1 << 23)) /
           (1 << 23);
  return v;
}

struct Pair {
  const GgmlOps &vector, &definition;
};

class GgmlOpsTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
#if !defined(__x86_64__)
    GTEST_SKIP() << "no vector code for this processor";
#endif
    if (GetParam() > cpu_isa()) GTEST_SKIP() << "this CPU has no " << name_of(GetParam());
  }
  Pair ops() const {
#if defined(__x86_64__)
    if (GetParam() == Isa::avx512) return {ggml_ops_avx512(), ggml_ops_ref16()};
    return {ggml_ops_avx2(), ggml_ops_ref8()};
#else
    return {ggml_ops_ref16(), ggml_ops_ref16()};
#endif
  }
  static void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
          << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, GgmlOpsTest, ::testing::Values(Isa::avx2, Isa::avx512),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(GgmlOpsTest, HasTheLanesOfItsDefinition) { EXPECT_EQ(ops().vector.lanes, ops().definition.lanes); }

TEST_P(GgmlOpsTest, NormHasTheBitsOfTheDefinition) {
  for (int64_t n : {1, 7, 16, 33, 288, 1000}) {
    const auto x = random_values(n, 4, 1), w = random_values(n, 2, 2);
    std::vector<float> a(x.size()), b(x.size());
    ops().vector.rms_norm(x.data(), w.data(), a.data(), n, 1e-5F);
    ops().definition.rms_norm(x.data(), w.data(), b.data(), n, 1e-5F);
    expect_same_bits(a, b);
  }
}

TEST_P(GgmlOpsTest, RotationHasTheBitsOfTheDefinition) {
  for (int64_t half : {1, 8, 24, 32, 37}) {
    auto a = random_values(6 * half, 4, 3), b = a;
    const auto c = random_values(half, 1, 4), s = random_values(half, 1, 5);
    ops().vector.rotate(a.data(), 3, half, c.data(), s.data());
    ops().definition.rotate(b.data(), 3, half, c.data(), s.data());
    expect_same_bits(a, b);
  }
}

TEST_P(GgmlOpsTest, GateHasTheBitsOfTheDefinition) {
  // Up to where e^-x overflows, through its subnormal results on the other side, and the ends.
  auto gate = random_values(200003, 150, 6);
  for (float x : {0.0F, -0.0F, 87.3F, 87.4F, 88.0F, 88.4F, 103.9F, 104.0F, 133.0F, 134.0F, 1e30F, INFINITY, NAN})
    for (float sign : {1.0F, -1.0F}) gate.push_back(sign * x);
  const auto n = static_cast<int64_t>(gate.size());
  const auto up = random_values(n, 2, 7);
  std::vector<float> a(gate.size()), b(gate.size());
  ops().vector.silu_gate(gate.data(), up.data(), a.data(), n);
  ops().definition.silu_gate(gate.data(), up.data(), b.data(), n);
  expect_same_bits(a, b);
}

TEST_P(GgmlOpsTest, ProductHasTheBitsOfTheDefinition) {
  for (int64_t n : {1, 16, 24, 96, 257}) {
    for (int64_t rows : {1, 4, 7}) {
      const int64_t tokens = 9, stride = rows + 2;
      const auto w = random_values(rows * n, 1, 12), x = random_values(tokens * n, 3, 13);
      std::vector<float> a(static_cast<size_t>(tokens * stride), 7), b = a;
      ops().vector.product(w.data(), rows, x.data(), tokens, n, a.data(), stride);
      ops().definition.product(w.data(), rows, x.data(), tokens, n, b.data(), stride);
      expect_same_bits(a, b);
    }
  }
}

TEST(GgmlPairs, AreTheOddElementsOfEach32AndThenTheEvenOnes) {
  std::vector<float> v(64);
  std::iota(v.begin(), v.end(), 0.0F);
  ggml_pair_order(v);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(v[i], static_cast<float>(i / 32 * 32 + i % 16 * 2 + (i % 32 < 16 ? 1 : 0)));
}

TEST_P(GgmlOpsTest, AttentionHasTheBitsOfTheDefinition) {
  struct Case {
    int64_t length, head_dim;
    bool interleaved;
  };
  for (const Case c : {Case{1, 16, false},
                       {2, 64, true},
                       {15, 48, true},
                       {16, 32, false},
                       {17, 20, true},
                       {70, 64, true},
                       {33, 6, false}}) {
    GgmlHead head{.length = c.length,
                  .head_dim = c.head_dim,
                  .q_stride = c.head_dim + 5,
                  .kv_stride = c.head_dim + 3,
                  .scale = 0.37F,
                  .interleaved = c.interleaved};
    const auto q = random_values(c.length * head.q_stride, 3, 8), k = random_values(c.length * head.kv_stride, 3, 9),
               v = random_values(c.length * head.kv_stride, 3, 10);
    std::vector<float> a(q.size(), 7), b(q.size(), 7), scratch(static_cast<size_t>(ggml_scratch_floats(head)), NAN);
    ops().vector.attention(head, q.data(), k.data(), v.data(), a.data(), scratch.data());
    ops().definition.attention(head, q.data(), k.data(), v.data(), b.data(), nullptr);
    expect_same_bits(a, b);
  }
}

TEST_P(GgmlOpsTest, FlashAttentionHasTheBitsOfTheDefinition) {
  struct Case {
    int64_t length, head_dim, window;
    bool interleaved, scale_queries;
  };
  constexpr int64_t kAll = INT64_MAX;
  // On both sides of a tile, windows that end inside of one and skip others, heads of no whole vectors and steps, and
  // those that a quantized cache takes with and without rotation.
  for (const Case c : {Case{2, 64, kAll, true, false},
                       {63, 48, kAll, true, false},
                       {64, 48, kAll, true, false},
                       {65, 96, kAll, false, false},
                       {200, 128, kAll, false, true},
                       {131, 64, 70, false, false},
                       {300, 256, 64, false, true},
                       {300, 32, 5, false, true},
                       {150, 20, kAll, true, false},
                       {150, 8, 33, true, false},
                       {70, 192, kAll, true, false},
                       {40, 6, kAll, false, false}})
    for (const KvCache cache : {KvCache::f16, KvCache::f32, KvCache::q8_0, KvCache::q4_0}) {
      if (is_quantized(cache) && c.head_dim % kGgmlBlock != 0) continue;
      SCOPED_TRACE(testing::Message() << "cache " << static_cast<int>(cache) << ", " << c.length << " of " << c.head_dim
                                      << ", window " << c.window);
      const GgmlHead head{.length = c.length,
                          .head_dim = c.head_dim,
                          .q_stride = c.head_dim + 5,
                          .kv_stride = c.head_dim + 3,
                          .scale = 0.37F,
                          .interleaved = c.interleaved,
                          .scale_queries = c.scale_queries,
                          .window = c.window,
                          .cache = cache};
      const auto q = random_values(c.length * head.q_stride, 3, 8), k = random_values(c.length * head.kv_stride, 3, 9),
                 v = random_values(c.length * head.kv_stride, 3, 10);
      std::vector<float> a(q.size(), 7), b(q.size(), 7),
          scratch(static_cast<size_t>(ggml_flash_scratch_floats(head)) + 1, NAN);
      scratch.back() = 7;
      ops().vector.flash_attention(head, q.data(), k.data(), v.data(), a.data(), scratch.data());
      ops().definition.flash_attention(head, q.data(), k.data(), v.data(), b.data(), nullptr);
      expect_same_bits(a, b);
      EXPECT_EQ(scratch.back(), 7.0F);
    }
}

TEST(GgmlOps, DefinitionsComputeWhatTheyAreFor) {
  for (const GgmlOps* ops : {&ggml_ops_ref16(), &ggml_ops_ref8()}) {
    const auto gate = random_values(20000, 80, 11);
    const std::vector<float> ones(gate.size(), 1.0F);
    std::vector<float> out(gate.size());
    ops->silu_gate(gate.data(), ones.data(), out.data(), 20000);
    // exp within 2 ulp, by ggml's own account, and two roundings.
    for (size_t i = 0; i < gate.size(); ++i) {
      const double x = gate[i], exact = x / (1 + std::exp(-x));
      ASSERT_NEAR(out[i], exact, 4 * 0x1p-23 * std::abs(exact)) << x;
    }

    const GgmlHead head{.length = 40, .head_dim = 24, .q_stride = 24, .kv_stride = 24, .scale = 0.2F};
    const auto q = random_values(960, 2, 12), k = random_values(960, 2, 13), v = random_values(960, 2, 14);
    std::vector<float> attended(960);
    ops->attention(head, q.data(), k.data(), v.data(), attended.data(), nullptr);
    for (size_t t = 0; t < 40; ++t) {
      std::vector<double> p(t + 1);
      double sum = 0;
      for (size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (size_t i = 0; i < 24; ++i)
          score += static_cast<double>(round_to(Dtype::f16, q[t * 24 + i]) * round_to(Dtype::f16, k[s * 24 + i]));
        sum += p[s] = std::exp(0.2 * score);
      }
      for (size_t i = 0; i < 24; ++i) {
        double expected = 0;
        for (size_t s = 0; s <= t; ++s)
          expected += p[s] / sum * static_cast<double>(round_to(Dtype::f16, v[s * 24 + i]));
        // Probabilities are rounded by 2^-11 of themselves, and |v| <= 2.
        ASSERT_NEAR(attended[t * 24 + i], expected, 2 * 0x1p-11) << t << ", " << i;
      }
    }
  }
}

TEST(GgmlOps, FlashAttentionIsAttentionOverWhatTheCacheHolds) {
  // The result of each cache against doubles with exact keys and values, within what the cache rounds away.
  struct Case {
    KvCache cache;
    int64_t length;
    double tolerance;
  };
  for (const GgmlOps* ops : {&ggml_ops_ref16(), &ggml_ops_ref8()})
    for (const Case c : {Case{KvCache::f16, 100, 0x1p-9},
                         {KvCache::f32, 100, 0x1p-9},
                         {KvCache::f16, 60, 0x1p-6},  // values are summed in F16
                         {KvCache::q8_0, 100, 0x1p-5},
                         {KvCache::q4_0, 100, 0.5}})
      for (const int64_t window : {int64_t{100}, int64_t{30}}) {
        const GgmlHead head{.length = c.length,
                            .head_dim = 64,
                            .q_stride = 64,
                            .kv_stride = 64,
                            .scale = 0.125F,
                            .window = window,
                            .cache = c.cache};
        const auto n = c.length * 64;
        const auto q = random_values(n, 2, 12), k = random_values(n, 2, 13), v = random_values(n, 2, 14);
        std::vector<float> attended(q.size());
        ops->flash_attention(head, q.data(), k.data(), v.data(), attended.data(), nullptr);
        double squares = 0;
        for (int64_t t = 0; t < c.length; ++t) {
          std::vector<double> p;
          double sum = 0;
          const int64_t first = std::max<int64_t>(0, t - window + 1);
          for (int64_t s = first; s <= t; ++s) {
            double score = 0;
            for (int64_t i = 0; i < 64; ++i)
              score += static_cast<double>(q[static_cast<size_t>(t * 64 + i)]) *
                       static_cast<double>(k[static_cast<size_t>(s * 64 + i)]);
            p.push_back(std::exp(0.125 * score));
            sum += p.back();
          }
          for (int64_t i = 0; i < 64; ++i) {
            double expected = 0;
            for (int64_t s = first; s <= t; ++s)
              expected +=
                  p[static_cast<size_t>(s - first)] / sum * static_cast<double>(v[static_cast<size_t>(s * 64 + i)]);
            const double d = static_cast<double>(attended[static_cast<size_t>(t * 64 + i)]) - expected;
            squares += d * d;
            ASSERT_NEAR(d, 0, c.tolerance) << static_cast<int>(c.cache) << ": " << t << ", " << i;
          }
        }
        // A coarser cache is farther away: each of them does round.
        EXPECT_GT(std::sqrt(squares / static_cast<double>(n)), c.tolerance / 200);
      }
}

TEST(GgmlOps, TablesTurnPairsAsTheFrequenciesOfTheModelDo) {
  Rope rope{.table = {.theta = 500000, .factor = 8, .original_context = 64}, .rotated = 64};
  for (RopeScaling scaling : {RopeScaling::none, RopeScaling::linear, RopeScaling::llama3, RopeScaling::yarn}) {
    rope.table.scaling = scaling;
    std::vector<float> cosines, sines;
    ggml_rope_tables(rope, 100, cosines, sines);
    const std::vector<float> f = rope.frequencies();
    for (size_t t = 0; t < 100; ++t)
      for (size_t i = 0; i < 32; ++i) {
        // Up to 32 multiplications by a factor that is itself rounded: 64 x 2^-24 of an angle of at most 99.
        ASSERT_NEAR(cosines[t * 32 + i], std::cos(static_cast<float>(t) * f[i]), 5e-4) << t << ", " << i;
        ASSERT_NEAR(sines[t * 32 + i], std::sin(static_cast<float>(t) * f[i]), 5e-4) << t << ", " << i;
      }
  }
}

}  // namespace
}  // namespace kerf
