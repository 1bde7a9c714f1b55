// The definitions of ggml_ops.h in plain code.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "kernels/gguf/ggml_cache.h"
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

// Of element i of a head, counted as GGUF orders them.
int64_t element(const GgmlHead& h, int64_t i) { return h.interleaved ? i / 2 + i % 2 * (h.head_dim / 2) : i; }
int64_t first_seen(const GgmlHead& h, int64_t t) { return t < h.window ? 0 : t - h.window + 1; }

template <int L>
void attention(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float*) {
  const auto at = [&](int64_t i) { return element(h, i); };
  for (int64_t t = 0; t < h.length; ++t) {
    const int64_t first = first_seen(h, t);                      // visible
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

std::vector<float> query_of(const GgmlHead& h, const float* q, int64_t t) {
  std::vector<float> query;
  for (int64_t i = 0; i < h.head_dim; ++i)
    query.push_back(q[t * h.q_stride + element(h, i)] * (h.scale_queries ? h.scale : 1.0F));
  return query;
}

template <int L>
void flash_tiles(const GgmlHead& h, const float* q, const float* k, const float* v, float* out) {
  for (int64_t t = 0; t < h.length; ++t) {
    const std::vector<float> query = query_of(h, q, t);
    std::vector<float> values(query.size());
    float most = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t tile = 0; tile <= t; tile += kGgmlTile) {
      const int64_t begin = std::max(tile, first_seen(h, t)), end = std::min(tile + kGgmlTile, t + 1);
      if (begin >= end) continue;
      float p[kGgmlTile] = {};
      float highest = most;
      for (int64_t s = begin; s < end; ++s) {
        float score = 0;
        for (int64_t i = 0; i < h.head_dim; ++i)
          score = std::fma(half(k[s * h.kv_stride + element(h, i)]), query[static_cast<size_t>(i)], score);
        p[s - tile] = h.scale_queries ? score : score * h.scale;
        highest = std::max(highest, p[s - tile]);
      }
      if (highest > most) {
        const float kept = std::exp(most - highest);
        for (float& x : values) x *= kept;
        sum *= kept;
        most = highest;
      }
      for (int64_t s = begin; s < end; ++s) p[s - tile] = exp_of<L>(p[s - tile] - most);
      double total = 0;
      for (int64_t s = 0; s < kGgmlTile; s += L) {
        float part[L];
        std::copy_n(p + s, L, part);
        total += static_cast<double>(sum_by_halves(part));
      }
      sum = static_cast<float>(static_cast<double>(sum) + total);
      for (int64_t s = begin; s < end; ++s)
        for (size_t i = 0; i < values.size(); ++i)
          values[i] = std::fma(p[s - tile], half(v[s * h.kv_stride + static_cast<int64_t>(i)]), values[i]);
    }
    for (size_t i = 0; i < values.size(); ++i) out[t * h.q_stride + static_cast<int64_t>(i)] = values[i] * (1.0F / sum);
  }
}

template <int L>
float half_score(const float* k, const std::vector<float>& query) {
  const size_t whole = query.size() / (4 * L) * (4 * L);
  float acc[4][L] = {};
  for (size_t d = 0; d < whole; ++d) {
    float& a = acc[d / L % 4][d % L];
    a = std::fma(k[d], half(query[d]), a);
  }
  float lanes[L];
  for (int l = 0; l < L; ++l) lanes[l] = (acc[0][l] + acc[2][l]) + (acc[1][l] + acc[3][l]);
  if (L == 8)
    for (int l = 0; l < 4; ++l) lanes[l] += lanes[l + 4];
  double sum = static_cast<double>(L == 8 ? (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) : sum_by_halves(lanes));
  for (size_t d = whole; d < query.size(); ++d) sum += static_cast<double>(k[d] * half(query[d]));
  return static_cast<float>(sum);
}

// A head's numbers in a quantized cache: codes, and a scale for each block.
struct StoredRow {
  std::vector<float> codes, scales;
  StoredRow(KvCache cache, std::vector<float> x) : codes(std::move(x)) {
    for (size_t b = 0; b < codes.size(); b += kGgmlBlock) scales.push_back(store_block(cache, &codes[b], half));
  }
  std::vector<float> values() const {
    std::vector<float> v = codes;
    for (size_t i = 0; i < v.size(); ++i) v[i] *= scales[i / kGgmlBlock];
    return v;
  }
};

std::vector<float> rotated(std::vector<float> x, int64_t n) {
  rotate_each(x.data(), static_cast<int64_t>(x.size()), n);
  return x;
}

float block_score(const StoredRow& k, const StoredRow& q) {
  float acc[8] = {};
  for (size_t b = 0; b < k.scales.size(); ++b)
    for (size_t l = 0; l < 8; ++l) {
      float whole = 0;
      for (size_t i = b * kGgmlBlock + 4 * l; i < b * kGgmlBlock + 4 * l + 4; ++i) whole += k.codes[i] * q.codes[i];
      acc[l] = std::fma(k.scales[b] * q.scales[b], whole, acc[l]);
    }
  return sum_by_halves(acc);
}

template <int L>
void flash_rows(const GgmlHead& h, const float* q, const float* k, const float* v, float* out) {
  const bool quantized = is_quantized(h.cache);
  std::vector<std::vector<float>> keys, values;  // F16
  std::vector<StoredRow> stored;
  for (int64_t s = 0; s < h.length; ++s) {
    std::vector<float> key, value;
    for (int64_t i = 0; i < h.head_dim; ++i) {
      key.push_back(k[s * h.kv_stride + element(h, i)]);
      value.push_back(v[s * h.kv_stride + i]);
    }
    if (quantized) {
      stored.emplace_back(h.cache, rotated(key, key_rotation(h.head_dim)));
      values.push_back(StoredRow(h.cache, rotated(value, value_rotation(h.head_dim))).values());
    } else {
      for (float& x : key) x = half(x);
      for (float& x : value) x = half(x);
      keys.push_back(key);
      values.push_back(value);
    }
  }
  const auto kept = [&](float x) { return quantized ? x : half(x); };
  for (int64_t t = 0; t < h.length; ++t) {
    const std::vector<float> query = query_of(h, q, t);
    std::optional<StoredRow> rounded;
    if (quantized) rounded.emplace(KvCache::q8_0, rotated(query, key_rotation(h.head_dim)));
    std::vector<float> result(query.size());
    float most = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t at = first_seen(h, t); at <= t; ++at) {
      const auto s = static_cast<size_t>(at);
      const float product = quantized ? block_score(stored[s], *rounded) : half_score<L>(keys[s].data(), query);
      const float score = h.scale_queries ? product : product * h.scale;
      float old_part = 1, new_part = 1;
      if (score > most) {
        old_part = std::exp(most - score);
        most = score;
        for (float& x : result) x = kept(x * old_part);
      } else {
        new_part = std::exp(score - most);
      }
      for (size_t i = 0; i < result.size(); ++i) result[i] = kept(std::fma(values[s][i], new_part, result[i]));
      sum = sum * old_part + new_part;
    }
    for (float& x : result) x *= 1.0F / sum;
    if (quantized) result = rotated(result, value_rotation(h.head_dim));
    std::copy(result.begin(), result.end(), out + t * h.q_stride);
  }
}

template <int L>
void flash_attention(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float*) {
  (ggml_flash_by_tiles(h, L) ? flash_tiles<L> : flash_rows<L>)(h, q, k, v, out);
}

}  // namespace

const GgmlOps& ggml_ops_ref16() {
  static constexpr GgmlOps ops = {16, rms_norm, rotate, silu_gate<16>, product<16>, attention<16>, flash_attention<16>};
  return ops;
}

const GgmlOps& ggml_ops_ref8() {
  static constexpr GgmlOps ops = {8, rms_norm, rotate, silu_gate<8>, product<8>, attention<8>, flash_attention<8>};
  return ops;
}

}  // namespace kerf
