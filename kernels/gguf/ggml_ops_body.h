// Included by ggml_ops_<isa>.cc, which defines KERF_GGML_OPS as the name of the table and, in the anonymous namespace
// of kerf, kLanes, the vector type V and the operations on it. Sums over lanes become sums of kLanes vectors: a vector
// holds the same lane of kLanes neighbouring keys (scores) or elements (values).
// (No standard library in here: files compiled for one instruction set must not emit templates that others share.)
#include "kernels/gguf/ggml_ops.h"

namespace kerf {
namespace {

/// f(offset) over whole vectors; what is left over of x goes through a copy padded with zeros.
template <class F>
inline void for_vectors(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}

inline V get(const float* p, int64_t n) {
  if (n == kLanes) return load(p);
  float part[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) part[i] = p[i];
  return load(part);
}

inline void put(float* p, V v, int64_t n) {
  if (n == kLanes) return store(p, v);
  float part[kLanes];
  store(part, v);
  for (int64_t i = 0; i < n; ++i) p[i] = part[i];
}

void rms_norm(const float* x, const float* weight, float* out, int64_t n, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const V scale = all(1.0F / __builtin_sqrtf(mean + eps));
  for_vectors(
      n, [&](int64_t i, int64_t m) { put(out + i, multiply(multiply(get(x + i, m), scale), get(weight + i, m)), m); });
}

void rotate(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines) {
  for (int64_t h = 0; h < heads; ++h) {
    float *first = x + h * 2 * half, *second = first + half;
    for_vectors(half, [&](int64_t i, int64_t m) {
      const V x0 = get(first + i, m), x1 = get(second + i, m), c = get(cosines + i, m), s = get(sines + i, m);
      put(first + i, fms(x0, c, multiply(x1, s)), m);
      put(second + i, fma(x0, s, multiply(x1, c)), m);
    });
  }
}

void silu_gate(const float* gate, const float* up, float* out, int64_t n) {
  for_vectors(n, [&](int64_t i, int64_t m) {
    const V x = get(gate + i, m);
    const V silu = divide(x, add(all(1.0F), exp_of(subtract(all(0.0F), x))));
    put(out + i, multiply(silu, get(up + i, m)), m);
  });
}

/// v[0] = the sum by halves.
template <int kHalf>
inline void add_halves(V* v) {
  for (int i = 0; i < kHalf; ++i) v[i] = add(v[i], v[i + kHalf]);
  if constexpr (kHalf > 1) add_halves<kHalf / 2>(v);
}

/// sum over i < n of rows[i * stride + 0 .. kLanes) * factors[i], lane by lane of i; n a multiple of kLanes.
inline V sum_of_rows(const float* rows, int64_t stride, const float* factors, int64_t n) {
  V acc[kLanes];
  for (int l = 0; l < kLanes; ++l) acc[l] = all(0.0F);
  for (int64_t i = 0; i < n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) acc[l] = fma(load(rows + (i + l) * stride), all(factors[i + l]), acc[l]);
  add_halves<kLanes / 2>(acc);
  return acc[0];
}

/// kRows rows of w by kTokens rows of x, so many sums at once that no one waits for another.
template <int kRows, int kTokens>
inline void product_tile(const float* w, const float* x, int64_t n, float* y, int64_t y_stride) {
  V acc[kTokens][kRows];
  for (int t = 0; t < kTokens; ++t)
    for (int r = 0; r < kRows; ++r) acc[t][r] = all(0.0F);
  for_vectors(n, [&](int64_t i, int64_t m) {
    V row[kRows];
    for (int r = 0; r < kRows; ++r) row[r] = get(w + r * n + i, m);
    for (int t = 0; t < kTokens; ++t) {
      const V token = get(x + t * n + i, m);
      for (int r = 0; r < kRows; ++r) acc[t][r] = fma(row[r], token, acc[t][r]);
    }
  });
  for (int t = 0; t < kTokens; ++t)
    for (int r = 0; r < kRows; ++r) y[t * y_stride + r] = sum_by_halves(acc[t][r]);
}

template <int kTokens>
inline void product_of_tokens(const float* w, int64_t rows, const float* x, int64_t n, float* y, int64_t y_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) product_tile<4, kTokens>(w + r * n, x, n, y + r, y_stride);
  for (; r < rows; ++r) product_tile<1, kTokens>(w + r * n, x, n, y + r, y_stride);
}

void product(const float* w, int64_t rows, const float* x, int64_t tokens, int64_t n, float* y, int64_t y_stride) {
  constexpr int kTokens = kLanes / 4;  // 4 by 4 sums in 32 registers, 4 by 2 in 16
  int64_t t = 0;
  for (; t + kTokens <= tokens; t += kTokens)
    product_of_tokens<kTokens>(w, rows, x + t * n, n, y + t * y_stride, y_stride);
  for (; t < tokens; ++t) product_of_tokens<1>(w, rows, x + t * n, n, y + t * y_stride, y_stride);
}

void round_all(float* x, int64_t n) {  // n a multiple of kLanes
  for (int64_t i = 0; i < n; i += kLanes) store(x + i, rounded_to_half(load(x + i)));
}

void attention(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float* scratch) {
  const int64_t dims = ggml_padded(h.head_dim), length = ggml_padded(h.length), key_stride = length + 16;
  float* keys = scratch;  // [dims][key_stride], elements of a head in GGUF's order
  float* values = keys + dims * key_stride;
  float* query = values + length * dims;
  float* p = query + dims;
  const auto at = [&](int64_t i) { return h.interleaved ? i / 2 + i % 2 * (h.head_dim / 2) : i; };
  for (int64_t i = 0; i < dims * key_stride + length * dims + dims; ++i) keys[i] = 0;
  for (int64_t t = 0; t < h.length; ++t) {
    for (int64_t i = 0; i < h.head_dim; ++i) {
      keys[i * key_stride + t] = k[t * h.kv_stride + at(i)];
      values[t * dims + i] = v[t * h.kv_stride + i];
    }
  }
  round_all(keys, dims * key_stride + length * dims);
  for (int64_t t = 0; t < h.length; ++t) {
    for (int64_t i = 0; i < h.head_dim; ++i) query[i] = q[t * h.q_stride + at(i)];
    if (h.scale_queries)
      for (int64_t i = 0; i < h.head_dim; ++i) query[i] *= h.scale;
    round_all(query, dims);
    const int64_t used = (t + kLanes) / kLanes * kLanes;  // positions up to t, and on to a multiple of kLanes
    // Positions before `begin`, whole vectors that nothing is visible of, would add zeros to every lane.
    const int64_t first = t < h.window ? 0 : t - h.window + 1, begin = first / kLanes * kLanes;
    const V scale = all(h.scale_queries ? 1.0F : h.scale);
    for (int64_t s = begin; s < used; s += kLanes)
      store(p + s, multiply(sum_of_rows(keys + s, key_stride, query, dims), scale));
    float most = p[first];
    for (int64_t s = first + 1; s <= t; ++s) most = p[s] > most ? p[s] : most;
    for (int64_t s = begin; s < first; ++s) p[s] = -__builtin_inff();
    for (int64_t s = t + 1; s < used; ++s) p[s] = -__builtin_inff();
    double sum = 0;
    for (int64_t s = begin; s < used; s += kLanes) {
      const V e = exp_of(subtract(load(p + s), all(most)));
      store(p + s, e);
      sum += static_cast<double>(sum_by_halves(e));
    }
    const V factor = all(static_cast<float>(1.0 / sum));
    for (int64_t s = begin; s < used; s += kLanes) store(p + s, rounded_to_half(multiply(load(p + s), factor)));
    for_vectors(h.head_dim, [&](int64_t i, int64_t m) {
      put(out + t * h.q_stride + i, sum_of_rows(values + begin * dims + i, dims, p + begin, used - begin), m);
    });
  }
}

}  // namespace
}  // namespace kerf

#include "kernels/gguf/ggml_flash_body.h"

namespace kerf {

const GgmlOps& KERF_GGML_OPS() {
  static constexpr GgmlOps ops = {kLanes, rms_norm, rotate, silu_gate, product, attention, flash_attention};
  return ops;
}

}  // namespace kerf
