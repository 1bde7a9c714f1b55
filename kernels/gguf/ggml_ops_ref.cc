// The definitions of ggml_ops.h in plain code.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "kernels/gguf/ggml_ops.h"

namespace kerf {
namespace {

template <int L>
float sum_by_halves(float (&v)[L]) {
  for (int half = L / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

template <int L>
float exp_of(float x) {
  const float z = std::fma(x, 0x1.715476p0F, 0x1.8p23F), n = z - 0x1.8p23F;
  const float b = std::fma(-n, 0x1.7f7d1cp-20F, std::fma(-n, 0x1.62e4p-1F, x)), u = b * b;
  if (n > 192) return std::numeric_limits<float>::infinity();
  if (n < -192) return 0;
  const float q = std::fma(std::fma(0x1.0e4020p-7F, b, 0x1.573e2ep-5F), u, std::fma(0x1.555e66p-3F, b, 0x1.fffdb6p-2F));
  if (std::isnan(q)) return q;
  const int power = static_cast<int>(n);
  if (L == 16) return std::ldexp(std::fma(q, u, std::fma(0x1.ffffecp-1F, b, 1.0F)), power);
  const float j = std::fma(q, u, 0x1.ffffecp-1F * b);
  const int outer = std::abs(power) <= 126 ? 0 : power <= 0 ? -125 : 127;
  const float inner = std::ldexp(1.0F, power - outer);
  return std::fma(j, inner, inner) * std::ldexp(1.0F, outer);
}

void rms_norm(const float* x, const float* weight, float* out, int64_t n, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const auto mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0F / std::sqrt(mean + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void rotate(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines) {
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < half; ++i) {
      float &first = x[h * 2 * half + i], &second = x[h * 2 * half + half + i];
      const float x0 = first, x1 = second, c = cosines[i], s = sines[i];
      first = std::fma(x0, c, -(x1 * s));
      second = std::fma(x0, s, x1 * c);
    }
  }
}

template <int L>
void silu_gate(const float* gate, const float* up, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0F + exp_of<L>(0.0F - gate[i])) * up[i];
}

template <int L>
void product(const float* w, int64_t rows, const float* x, int64_t tokens, int64_t n, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) {
      float acc[L] = {};
      for (int64_t d = 0; d < n; ++d) acc[d % L] = std::fma(w[r * n + d], x[t * n + d], acc[d % L]);
      y[t * y_stride + r] = sum_by_halves(acc);
    }
}

float half(float x) { return f16_to_f32(f32_to_f16(x)); }

template <int L>
void attention(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float*) {
  // Element i of a head in GGUF's order.
  const auto at = [&](int64_t i) { return h.interleaved ? i / 2 + i % 2 * (h.head_dim / 2) : i; };
  for (int64_t t = 0; t < h.length; ++t) {
    const int64_t first = t < h.window ? 0 : t - h.window + 1;   // visible
    std::vector<float> p(static_cast<size_t>((t + L) / L * L));  // up to t, and zeros to a multiple of L
    float most = -std::numeric_limits<float>::infinity();
    const float query_scale = h.scale_queries ? h.scale : 1.0F, score_scale = h.scale_queries ? 1.0F : h.scale;
    for (int64_t s = first; s <= t; ++s) {
      float acc[L] = {};
      for (int64_t i = 0; i < h.head_dim; ++i)
        acc[i % L] =
            std::fma(half(k[s * h.kv_stride + at(i)]), half(q[t * h.q_stride + at(i)] * query_scale), acc[i % L]);
      const float score = sum_by_halves(acc) * score_scale;
      p[static_cast<size_t>(s)] = score;
      most = score > most ? score : most;
    }
    double sum = 0;
    for (size_t s = 0; s < p.size(); s += L) {
      float part[L];
      for (size_t l = 0; l < L; ++l)
        part[l] = p[s + l] =
            static_cast<int64_t>(s + l) >= first && static_cast<int64_t>(s + l) <= t ? exp_of<L>(p[s + l] - most) : 0;
      sum += static_cast<double>(sum_by_halves(part));
    }
    const auto factor = static_cast<float>(1.0 / sum);
    for (float& e : p) e = half(e * factor);
    for (int64_t i = 0; i < h.head_dim; ++i) {
      float acc[L] = {};
      for (int64_t s = 0; s <= t; ++s)
        acc[s % L] = std::fma(half(v[s * h.kv_stride + i]), p[static_cast<size_t>(s)], acc[s % L]);
      out[t * h.q_stride + i] = sum_by_halves(acc);
    }
  }
}

}  // namespace

const GgmlOps& ggml_ops_ref16() {
  static constexpr GgmlOps ops = {16, rms_norm, rotate, silu_gate<16>, product<16>, attention<16>};
  return ops;
}

const GgmlOps& ggml_ops_ref8() {
  static constexpr GgmlOps ops = {8, rms_norm, rotate, silu_gate<8>, product<8>, attention<8>};
  return ops;
}

}  // namespace kerf
