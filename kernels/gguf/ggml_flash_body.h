// Flash attention (ggml_flash.h), included by ggml_ops_body.h behind what it uses of it.
#include "kernels/gguf/ggml_cache.h"

namespace kerf {
namespace {

constexpr int kRows = 4;                        // of queries at once
constexpr int kColumns = kLanes == 16 ? 4 : 2;  // vectors of keys or elements at once: 4 by 4 sums in 32 registers
constexpr float kNothing = -__builtin_inff();

inline float half_of(float x) {
  float lanes[kLanes];
  store(lanes, rounded_to_half(all(x)));
  return lanes[0];
}

/// y[r][0 .. kVectors) = fma(x[r][i], w[i][..], y[r][..]) for i = 0, 1, ... n - 1, a chain for each number.
template <int kVectors>
inline void chain(const float* x, int64_t x_stride, const float* w, int64_t w_stride, int64_t n, float* y,
                  int64_t y_stride) {
  V acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kVectors; ++c) acc[r][c] = load(y + r * y_stride + c * kLanes);
  for (int64_t i = 0; i < n; ++i) {
    V row[kVectors];
    for (int c = 0; c < kVectors; ++c) row[c] = load(w + i * w_stride + c * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V factor = all(x[r * x_stride + i]);
      for (int c = 0; c < kVectors; ++c) acc[r][c] = fma(row[c], factor, acc[r][c]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kVectors; ++c) store(y + r * y_stride + c * kLanes, acc[r][c]);
}

inline void chains(const float* x, int64_t x_stride, const float* w, int64_t w_stride, int64_t n, int64_t vectors,
                   float* y, int64_t y_stride) {
  for (; vectors >= kColumns; vectors -= kColumns, w += kColumns * kLanes, y += kColumns * kLanes)
    chain<kColumns>(x, x_stride, w, w_stride, n, y, y_stride);
  if (vectors == 3) chain<3>(x, x_stride, w, w_stride, n, y, y_stride);
  if (vectors == 2) chain<2>(x, x_stride, w, w_stride, n, y, y_stride);
  if (vectors == 1) chain<1>(x, x_stride, w, w_stride, n, y, y_stride);
}

inline void multiply_row(float* x, float by, int64_t n) {  // n a multiple of kLanes
  for (int64_t i = 0; i < n; i += kLanes) store(x + i, multiply(load(x + i), all(by)));
}

/// A query on its way over tiles of keys.
struct Softmax {
  float most = kNothing, sum = 0;

  /// Scores of positions [0, n) of a tile, of which [begin, end) are visible, become probabilities; n a multiple of
  /// kLanes. `result`, dims floats, is put on the new maximum.
  inline void take(float* scores, int64_t begin, int64_t end, int64_t n, float scale, float* result, int64_t dims) {
    if (begin >= end) {
      for (int64_t i = 0; i < n; ++i) scores[i] = 0;
      return;
    }
    multiply_row(scores, scale, n);
    for (int64_t i = 0; i < begin; ++i) scores[i] = kNothing;
    for (int64_t i = end; i < n; ++i) scores[i] = kNothing;
    float highest = most;
    for (int64_t i = begin; i < end; ++i) highest = scores[i] > highest ? scores[i] : highest;
    if (highest > most) {
      const float kept = __builtin_expf(most - highest);
      multiply_row(result, kept, dims);
      sum *= kept;
      most = highest;
    }
    double tile = 0;
    for (int64_t i = 0; i < n; i += kLanes) {
      const V e = exp_of(subtract(load(scores + i), all(most)));
      store(scores + i, e);
      tile += static_cast<double>(sum_by_halves(e));
    }
    sum = static_cast<float>(static_cast<double>(sum) + tile);
  }
  inline float inverse() const { return sum == 0 ? 0.0F : 1.0F / sum; }
};

/// Where the head's elements lie in memory.
inline int64_t element(const GgmlHead& h, int64_t i) { return h.interleaved ? i / 2 + i % 2 * (h.head_dim / 2) : i; }

inline void get_query(const GgmlHead& h, const float* q, float* to) {
  for (int64_t i = 0; i < h.head_dim; ++i) to[i] = q[element(h, i)];
  if (h.scale_queries)
    for (int64_t i = 0; i < h.head_dim; ++i) to[i] *= h.scale;
}

inline float score_scale(const GgmlHead& h) { return h.scale_queries ? 1.0F : h.scale; }

inline int64_t first_seen(const GgmlHead& h, int64_t t) { return t < h.window ? 0 : t - h.window + 1; }

inline int64_t whole_vectors(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

void flash_by_tiles(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float* scratch) {
  const int64_t dims = h.head_dim, length = whole_vectors(h.length), key_stride = length + 16;
  float* keys = scratch;  // [dims][key_stride]
  float* values = keys + dims * key_stride;
  float* queries = values + length * dims;
  float* results = queries + kGgmlTile * dims;
  float* scores = results + kGgmlTile * dims;  // [kRows][kGgmlTile]
  for (int64_t i = 0; i < dims; ++i)
    for (int64_t t = h.length; t < length; ++t) keys[i * key_stride + t] = 0;
  for (int64_t t = 0; t < h.length; ++t)
    for (int64_t i = 0; i < dims; ++i) {
      keys[i * key_stride + t] = k[t * h.kv_stride + element(h, i)];
      values[t * dims + i] = v[t * h.kv_stride + i];
    }
  for (int64_t i = 0; i < dims; ++i) round_all(keys + i * key_stride, length);
  round_all(values, h.length * dims);

  for (int64_t first = 0; first < h.length; first += kGgmlTile) {
    const int64_t rows = h.length - first < kGgmlTile ? h.length - first : kGgmlTile;
    Softmax states[kGgmlTile];
    for (int64_t i = 0; i < kGgmlTile * dims; ++i) queries[i] = results[i] = 0;
    for (int64_t r = 0; r < rows; ++r) get_query(h, q + (first + r) * h.q_stride, queries + r * dims);
    for (int64_t tile = first_seen(h, first) / kGgmlTile * kGgmlTile; tile <= first; tile += kGgmlTile)
      for (int64_t r = 0; r < rows; r += kRows) {
        // Positions of the tile up to the last that one of these queries sees.
        int64_t seen = first + r + kRows - tile;
        seen = seen < kGgmlTile ? seen : kGgmlTile;
        seen = seen < h.length - tile ? seen : h.length - tile;
        if (first_seen(h, first + r) >= tile + seen) continue;
        const int64_t n = whole_vectors(seen);
        for (int64_t i = 0; i < kRows * kGgmlTile; ++i) scores[i] = 0;
        chains(queries + r * dims, dims, keys + tile, key_stride, dims, n / kLanes, scores, kGgmlTile);
        for (int64_t i = 0; i < kRows; ++i) {
          const int64_t t = first + r + i, begin = first_seen(h, t) - tile, end = t + 1 - tile;
          states[r + i].take(scores + i * kGgmlTile, begin < 0 ? 0 : begin, end < seen ? end : seen, n, score_scale(h),
                             results + (r + i) * dims, dims);
        }
        chains(scores, kGgmlTile, values + tile * dims, dims, seen, dims / kLanes, results + r * dims, dims);
      }
    for (int64_t r = 0; r < rows; ++r) {
      multiply_row(results + r * dims, states[r].inverse(), dims);
      for (int64_t i = 0; i < dims; ++i) out[(first + r) * h.q_stride + i] = results[r * dims + i];
    }
  }
}

/// result := sum over positions [first, last] of values [.., dims] with weights that follow from the scores, one by
/// one; dims a multiple of kLanes.
template <bool kHalf>
void flash_row(const float* scores, int64_t first, int64_t last, const float* values, int64_t dims, float* result) {
  const auto kept = [](V x) {
    if constexpr (kHalf) return rounded_to_half(x);
    return x;
  };
  float most = kNothing, sum = 0;
  for (int64_t i = 0; i < dims; ++i) result[i] = 0;
  for (int64_t s = first; s <= last; ++s) {
    float old_part = 1, new_part = 1;
    if (scores[s] > most) {
      old_part = __builtin_expf(most - scores[s]);
      most = scores[s];
      for (int64_t i = 0; i < dims; i += kLanes) store(result + i, kept(multiply(load(result + i), all(old_part))));
    } else {
      new_part = __builtin_expf(scores[s] - most);
    }
    for (int64_t i = 0; i < dims; i += kLanes)
      store(result + i, kept(fma(load(values + s * dims + i), all(new_part), load(result + i))));
    sum = sum * old_part + new_part;
  }
  multiply_row(result, sum == 0 ? 0.0F : 1.0F / sum, dims);
}

inline float sum_of_steps(V v) {
  if constexpr (kLanes == 16) {
    return sum_by_halves(v);
  } else {
    float x[kLanes];
    store(x, v);
    for (int i = 0; i < 4; ++i) x[i] += x[i + 4];
    return (x[0] + x[1]) + (x[2] + x[3]);
  }
}

float half_product(const float* k, const float* q, int64_t n) {
  const int64_t whole = n / (4 * kLanes) * (4 * kLanes);
  V acc[4] = {all(0), all(0), all(0), all(0)};
  for (int64_t i = 0; i < whole; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) acc[j] = fma(load(k + i + j * kLanes), load(q + i + j * kLanes), acc[j]);
  double sum = static_cast<double>(sum_of_steps(add(add(acc[0], acc[2]), add(acc[1], acc[3]))));
  for (int64_t i = whole; i < n; ++i) sum += static_cast<double>(k[i] * q[i]);
  return static_cast<float>(sum);
}

void flash_by_rows(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float* scratch) {
  const int64_t dims = ggml_padded(h.head_dim);
  float* keys = scratch;  // [length][dims]
  float* values = keys + h.length * dims;
  float* query = values + h.length * dims;
  float* result = query + dims;
  float* scores = result + dims;
  for (int64_t i = 0; i < (2 * h.length + 1) * dims; ++i) keys[i] = 0;
  for (int64_t t = 0; t < h.length; ++t)
    for (int64_t i = 0; i < h.head_dim; ++i) {
      keys[t * dims + i] = k[t * h.kv_stride + element(h, i)];
      values[t * dims + i] = v[t * h.kv_stride + i];
    }
  round_all(keys, 2 * h.length * dims);
  for (int64_t t = 0; t < h.length; ++t) {
    get_query(h, q + t * h.q_stride, query);
    round_all(query, dims);
    for (int64_t s = first_seen(h, t); s <= t; ++s)
      scores[s] = half_product(keys + s * dims, query, h.head_dim) * score_scale(h);
    flash_row<true>(scores, first_seen(h, t), t, values, dims, result);
    for (int64_t i = 0; i < h.head_dim; ++i) out[t * h.q_stride + i] = result[i];
  }
}

/// Heads of whole blocks.
void flash_quantized(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float* scratch) {
  const int64_t dims = h.head_dim, blocks = dims / kGgmlBlock, key_stride = whole_vectors(h.length) + 16;
  float* keys = scratch;                             // codes [dims][key_stride]
  float* key_scales = keys + dims * key_stride;      // [blocks][key_stride]
  float* values = key_scales + blocks * key_stride;  // [length][dims]
  float* query = values + h.length * dims;
  float* query_scales = query + dims;
  float* result = query_scales + blocks;
  float* scores = result + dims;
  const auto half = [](float x) { return half_of(x); };
  const int64_t rotated_keys = key_rotation(dims), rotated_values = value_rotation(dims);
  for (int64_t i = 0; i < (dims + blocks) * key_stride; ++i) keys[i] = 0;
  for (int64_t t = 0; t < h.length; ++t) {
    for (int64_t i = 0; i < dims; ++i) query[i] = k[t * h.kv_stride + element(h, i)];
    rotate_each(query, dims, rotated_keys);
    float* row = values + t * dims;
    for (int64_t i = 0; i < dims; ++i) row[i] = v[t * h.kv_stride + i];
    rotate_each(row, dims, rotated_values);
    for (int64_t b = 0; b < blocks; ++b) {
      key_scales[b * key_stride + t] = store_block(h.cache, query + b * kGgmlBlock, half);
      const float scale = store_block(h.cache, row + b * kGgmlBlock, half);
      for (int64_t i = 0; i < kGgmlBlock; ++i) row[b * kGgmlBlock + i] *= scale;
    }
    for (int64_t i = 0; i < dims; ++i) keys[i * key_stride + t] = query[i];
  }
  for (int64_t t = 0; t < h.length; ++t) {
    get_query(h, q + t * h.q_stride, query);
    rotate_each(query, dims, rotated_keys);
    const int64_t first = first_seen(h, t);
    const auto add_block = [&](int64_t s, int64_t b, float scale, V(&acc)[8]) {
      const float* codes = query + b * kGgmlBlock;
      const V d = multiply(load(key_scales + b * key_stride + s), all(scale));
      for (int l = 0; l < 8; ++l) {
        V whole = all(0.0F);  // sums of whole numbers are exact
        for (int j = 4 * l; j < 4 * l + 4; ++j)
          whole = fma(load(keys + (b * kGgmlBlock + j) * key_stride + s), all(codes[j]), whole);
        acc[l] = fma(d, whole, acc[l]);
      }
    };
    for (int64_t b = 0; b < blocks; ++b) query_scales[b] = store_q8_0(query + b * kGgmlBlock, half);
    for (int64_t s = first / kLanes * kLanes; s <= t; s += kLanes) {
      V acc[8];
      for (V& a : acc) a = all(0.0F);
      for (int64_t b = 0; b < blocks; ++b) add_block(s, b, query_scales[b], acc);
      add_halves<4>(acc);
      store(scores + s, multiply(acc[0], all(score_scale(h))));
    }
    flash_row<false>(scores, first, t, values, dims, result);
    rotate_each(result, dims, rotated_values);
    for (int64_t i = 0; i < dims; ++i) out[t * h.q_stride + i] = result[i];
  }
}

void flash_attention(const GgmlHead& h, const float* q, const float* k, const float* v, float* out, float* scratch) {
  if (is_quantized(h.cache)) return flash_quantized(h, q, k, v, out, scratch);
  if (ggml_flash_by_tiles(h, kLanes)) return flash_by_tiles(h, q, k, v, out, scratch);
  flash_by_rows(h, q, k, v, out, scratch);
}

}  // namespace
}  // namespace kerf
