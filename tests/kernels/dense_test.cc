#include "kernels/dense/dense.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <tuple>
#include <vector>

#include "core/parallel.h"
#include "kernels/dense/dense_panel.h"

namespace kerf {
namespace {

struct Shape {
  int64_t tokens, out, in;
};
// Odd ones, ones below, at and past the panel sizes, and single rows or columns.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 64, 288}, {2, 65, 37},    {3, 7, 1000},   {5, 257, 96},
                             {31, 130, 63}, {33, 70, 65}, {64, 300, 511}, {257, 259, 63}, {300, 17, 768}};

std::vector<float> random_floats(int64_t n, uint32_t seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(n));
  for (float& f : v) f = normal(bits);
  return v;
}

struct Threads {
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(0); }
};

TEST(Dense, IsWithinTheRoundingBoundOfADoublePrecisionProduct) {
  for (const Shape& s : kShapes) {
    const int64_t x_stride = s.in + 3, w_stride = s.in + 5, y_stride = s.out + 7;
    const auto x = random_floats(s.tokens * x_stride, 1), w = random_floats(s.out * w_stride, 2);
    std::vector<float> y(static_cast<size_t>(s.tokens * y_stride), 77.0f);
    matmul_nt(s.tokens, s.out, s.in, x.data(), x_stride, w.data(), w_stride, y.data(), y_stride);
    // Any order of n products and n - 1 sums, fused or not, errs by at most gamma_n = n u / (1 - n u) times the sum of
    // the absolute terms, u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5).
    const double nu = static_cast<double>(s.in) * std::ldexp(1.0, -24), gamma = nu / (1 - nu);
    for (int64_t t = 0; t < s.tokens; ++t) {
      for (int64_t r = 0; r < s.out; ++r) {
        double sum = 0, magnitude = 0;
        for (int64_t k = 0; k < s.in; ++k) {
          const double p = static_cast<double>(x[static_cast<size_t>(t * x_stride + k)]) *
                           static_cast<double>(w[static_cast<size_t>(r * w_stride + k)]);
          sum += p;
          magnitude += std::abs(p);
        }
        ASSERT_LE(std::abs(sum - static_cast<double>(y[static_cast<size_t>(t * y_stride + r)])), gamma * magnitude)
            << s.tokens << " x " << s.out << " x " << s.in << " at " << t << ", " << r;
      }
      for (int64_t r = s.out; r < y_stride; ++r)
        ASSERT_EQ(y[static_cast<size_t>(t * y_stride + r)], 77.0f) << "wrote outside the result";
    }
  }
}

TEST(Dense, IsBitwiseTheSameForAnyNumberOfThreads) {
  for (const Shape& s : kShapes) {
    const auto x = random_floats(s.tokens * s.in, 3), w = random_floats(s.out * s.in, 4);
    std::vector<float> first(static_cast<size_t>(s.tokens * s.out)), again(first.size());
    for (int n : {1, 2, 3}) {
      const Threads threads(n);
      auto& y = n == 1 ? first : again;
      matmul_nt(s.tokens, s.out, s.in, x.data(), s.in, w.data(), s.in, y.data(), s.out);
      if (n > 1) {
        ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0)
            << s.tokens << " x " << s.out << " x " << s.in << " on " << n << " threads";
      }
    }
  }
}

TEST(Dense, IsBitwiseTheSameInsideAParallelRegion) {
  const Shape s{33, 130, 511};
  const auto x = random_floats(s.tokens * s.in, 5), w = random_floats(s.out * s.in, 6);
  std::vector<float> outside(static_cast<size_t>(s.tokens * s.out));
  matmul_nt(s.tokens, s.out, s.in, x.data(), s.in, w.data(), s.in, outside.data(), s.out);
  std::vector<std::vector<float>> inside(4, std::vector<float>(outside.size()));
  parallel_for(4, [&](int64_t i) {
    matmul_nt(s.tokens, s.out, s.in, x.data(), s.in, w.data(), s.in, inside[static_cast<size_t>(i)].data(), s.out);
  });
  for (const auto& y : inside) EXPECT_EQ(std::memcmp(y.data(), outside.data(), y.size() * sizeof(float)), 0);
}

TEST(Dense, AnEmptySumIsZero) {
  std::vector<float> y(6, 5.0f);
  const float none = 0;
  matmul_nt(2, 3, 0, &none, 0, &none, 0, y.data(), 3);
  for (float v : y) EXPECT_EQ(v, 0.0f);
}

TEST(Dense, AccumulatesWhenAsked) {
  const float x[] = {1, 2}, w[] = {3, 4};
  float y = 10;
  matmul_nt_on_this_thread(1, 1, 2, x, 2, w, 2, &y, 1, true);
  EXPECT_EQ(y, 21.0f);
}

TEST(Dense, TransposedProductsAreWithinTheRoundingBound) {
  for (const auto& [tokens, rows, cols] : {std::tuple<int64_t, int64_t, int64_t>{5, 3, 200}, {70, 300, 37}}) {
    const int64_t a_stride = rows + 2, b_stride = cols + 1;
    const auto a = random_floats(tokens * a_stride, 7), b = random_floats(tokens * b_stride, 8);
    std::vector<float> c(static_cast<size_t>(rows * cols), 1.0f);
    add_product_tn(tokens, rows, cols, a.data(), a_stride, b.data(), b_stride, c.data(), false);
    const double nu = static_cast<double>(tokens + 1) * std::ldexp(1.0, -24), gamma = nu / (1 - nu);  // as above
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) {
        double sum = 1, magnitude = 1;
        for (int64_t t = 0; t < tokens; ++t) {
          const double p = static_cast<double>(a[static_cast<size_t>(t * a_stride + i)]) *
                           static_cast<double>(b[static_cast<size_t>(t * b_stride + j)]);
          sum += p;
          magnitude += std::abs(p);
        }
        ASSERT_LE(std::abs(sum - static_cast<double>(c[static_cast<size_t>(i * cols + j)])), gamma * magnitude);
      }
  }
}

}  // namespace
}  // namespace kerf
