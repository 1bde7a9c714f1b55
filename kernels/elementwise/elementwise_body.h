// Included by elementwise_<isa>.cc, which defines KERF_ELEMENTWISE as the name of the table. 16 lanes in as many
// registers as they take, in the vector extension of GCC and Clang.
#include "kernels/elementwise/elementwise.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // 64-byte vectors only pass between functions that are inlined here
#endif

namespace kerf {
namespace {

#if defined(__AVX512F__)
constexpr int kRegister = 64;  // bytes
#elif defined(__AVX2__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif
constexpr int64_t kLanes = 16;

/// The body of a for_row: i is the offset, m the number of elements.
#define KERF_EACH [&](int64_t i, int64_t m) __attribute__((always_inline))
#define KERF_INLINE static inline __attribute__((always_inline))

// The compiler would take vectors of 64 bytes too, but where registers are shorter GCC 12 compares and selects their
// elements one by one.
template <class T>
struct Lanes {
  using Element = T;
  static constexpr int kPieces = kLanes * static_cast<int>(sizeof(T)) / kRegister;
  static constexpr int64_t kEach = kLanes / kPieces;
  typedef T Piece __attribute__((vector_size(kRegister)));
  Piece piece[kPieces];
  __attribute__((always_inline)) T operator[](int64_t j) const { return piece[j / kEach][j % kEach]; }
};
using V = Lanes<float>;
using I = Lanes<int32_t>;
using U = Lanes<uint32_t>;
using D = Lanes<double>;

template <class T>
KERF_INLINE Lanes<T> all(T x) {
  Lanes<T> v = {};
  for (auto& piece : v.piece) piece = piece + x;
  return v;
}
/// The same bits in lanes of another type.
template <class To, class From>
KERF_INLINE To as(From v) {
  return __builtin_bit_cast(To, v);
}

#define KERF_LANEWISE(op, Result)                                              \
  template <class T>                                                           \
  KERF_INLINE Result operator op(Lanes<T> a, Lanes<T> b) {                     \
    Result r;                                                                  \
    for (int k = 0; k < a.kPieces; ++k) r.piece[k] = a.piece[k] op b.piece[k]; \
    return r;                                                                  \
  }                                                                            \
  template <class T>                                                           \
  KERF_INLINE Result operator op(Lanes<T> a, typename Lanes<T>::Element b) {   \
    return a op all<T>(b);                                                     \
  }
KERF_LANEWISE(+, Lanes<T>)
KERF_LANEWISE(-, Lanes<T>)
KERF_LANEWISE(*, Lanes<T>)
KERF_LANEWISE(/, Lanes<T>)
KERF_LANEWISE(&, Lanes<T>)
KERF_LANEWISE(|, Lanes<T>)
KERF_LANEWISE(<<, Lanes<T>)
KERF_LANEWISE(>>, Lanes<T>)
KERF_LANEWISE(<, I)
KERF_LANEWISE(>, I)
KERF_LANEWISE(==, I)
KERF_LANEWISE(!=, I)
#undef KERF_LANEWISE

template <class T>
KERF_INLINE Lanes<T> operator~(Lanes<T> v) {
  for (auto& piece : v.piece) piece = ~piece;
  return v;
}
KERF_INLINE V operator-(V v) {
  for (auto& piece : v.piece) piece = -piece;
  return v;
}

KERF_INLINE V load(const float* p) {
  V v;
  for (int k = 0; k < v.kPieces; ++k) __builtin_memcpy(&v.piece[k], p + k * v.kEach, sizeof v.piece[k]);
  return v;
}
KERF_INLINE void store(float* p, V v) {
  for (int k = 0; k < v.kPieces; ++k) __builtin_memcpy(p + k * v.kEach, &v.piece[k], sizeof v.piece[k]);
}
/// n < 16 elements, the other lanes hold `fill`.
KERF_INLINE V load_part(const float* p, int64_t n, float fill) {
  V v = all(fill);
  __builtin_memcpy(&v, p, static_cast<unsigned long>(n) * sizeof(float));
  return v;
}
KERF_INLINE void store_part(float* p, V v, int64_t n) {
  __builtin_memcpy(p, &v, static_cast<unsigned long>(n) * sizeof(float));
}
KERF_INLINE V select(I mask, V a, V b) { return as<V>((mask & as<I>(a)) | (~mask & as<I>(b))); }
/// Whole numbers.
KERF_INLINE I integers(V v) {
  I r;
  for (int k = 0; k < v.kPieces; ++k) r.piece[k] = __builtin_convertvector(v.piece[k], I::Piece);
  return r;
}
KERF_INLINE D doubles(V v) {
  typedef float Half __attribute__((vector_size(kRegister / 2)));
  D r;
  for (int k = 0; k < r.kPieces; ++k) {
    Half half;
    __builtin_memcpy(&half, reinterpret_cast<const char*>(&v.piece[k / 2]) + k % 2 * static_cast<int>(sizeof half),
                     sizeof half);
    r.piece[k] = __builtin_convertvector(half, D::Piece);
  }
  return r;
}
KERF_INLINE V larger(V a, V b) { return select(a > b, a, b); }

/// Lanes in order, in double.
KERF_INLINE double total(V v) {
  double s = 0;
  for (int j = 0; j < kLanes; ++j) s += static_cast<double>(v[j]);
  return s;
}

// e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r = 1 + r + r^2 q(r). q is the minimax polynomial of
// degree 4 for the relative error of e^r on that interval, 3.1e-9, a twentieth of an ulp. ln 2 is split so that n times
// its first part (9 bits) is exact.
KERF_INLINE V exp_of(V x) {
  constexpr float kLowest = -87.33654F;      // ln 2^-126: results below would be subnormal
  constexpr float kHighest = 88.02F;         // just below 127 ln 2
  constexpr float kToInteger = 12582912.0F;  // 1.5 x 2^23: adding it rounds to a whole number
  const I tiny = x < kLowest;
  x = select(x > kHighest, all(kHighest), x);
  x = select(tiny, all(kLowest), x);
  const V n = (x * 1.44269504F + kToInteger) - kToInteger;
  const V r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  V q = all(1.3814539e-3F);
  q = q * r + 8.3687454e-3F;
  q = q * r + 4.1668389e-2F;
  q = q * r + 0.16666521F;
  q = q * r + 0.49999994F;
  const V e = (q * (r * r) + r) + 1.0F;
  const I power = integers(n) << 23;
  return as<V>((as<I>(e) + power) & ~tiny);
}

template <Rounding kRounding>
KERF_INLINE V rounded(V x) {
  if constexpr (kRounding == Rounding::none) return x;
  const U bits = as<U>(x);
  if constexpr (kRounding == Rounding::bf16) {
    const U r = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    return select(x == x, as<V>(r), x);
  }
  const U sign = bits & 0x80000000U, magnitude = bits & 0x7fffffffU;
  // Normal halves: 13 bits fewer. Below 2^-14 their spacing is 2^-24, which is the spacing of floats in [0.5, 1).
  const U normal = (magnitude + 0xfffU + ((magnitude >> 13) & 1U)) & ~0x1fffU;
  const V small = (as<V>(magnitude) + 0.5F) - 0.5F;
  V r = select(as<V>(magnitude) < 6.103515625e-05F, small, as<V>(normal));
  r = select(r > 65504.0F, all(__builtin_inff()), r);
  r = as<V>(as<U>(r) | sign);
  return select(x == x, r, x);
}

/// f(vector of x, offset, elements) over a row, the last call with what is left.
template <class F>
KERF_INLINE void for_row(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}
KERF_INLINE V get(const float* p, int64_t n, float fill = 0) { return n == kLanes ? load(p) : load_part(p, n, fill); }
KERF_INLINE void put(float* p, V v, int64_t n) {
  if (n == kLanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

/// Calls f<rounding>() with the rounding as a constant.
#define KERF_DISPATCH(function, rounding, ...)      \
  switch (rounding) {                               \
    case Rounding::none:                            \
      return function<Rounding::none>(__VA_ARGS__); \
    case Rounding::f16:                             \
      return function<Rounding::f16>(__VA_ARGS__);  \
    case Rounding::bf16:                            \
      return function<Rounding::bf16>(__VA_ARGS__); \
  }

template <Rounding R>
void round_row(float* x, int64_t n) {
  for_row(
      n, KERF_EACH { put(x + i, rounded<R>(get(x + i, m)), m); });
}
void round_any(float* x, int64_t n, Rounding r) { KERF_DISPATCH(round_row, r, x, n) }

template <Rounding R>
void add_row(float* x, const float* y, int64_t n) {
  for_row(
      n, KERF_EACH { put(x + i, rounded<R>(get(x + i, m) + get(y + i, m)), m); });
}
void add_any(float* x, const float* y, int64_t n, Rounding r) { KERF_DISPATCH(add_row, r, x, y, n) }

template <Rounding R>
void rms_norm_row(const float* x, const float* weight, float* out, int64_t n, float eps) {
  D sums = {};
  for_row(
      n, KERF_EACH {
        const V v = get(x + i, m);
        sums = sums + doubles(v * v);
      });
  double sum = 0;
  for (int j = 0; j < 8; ++j) sum += sums[j] + sums[j + 8];
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0F / __builtin_sqrtf(mean + eps);
  for_row(
      n, KERF_EACH { put(out + i, rounded<R>(rounded<R>(get(x + i, m) * scale) * get(weight + i, m)), m); });
}
void rms_norm_any(const float* x, const float* weight, float* out, int64_t n, float eps, Rounding r) {
  KERF_DISPATCH(rms_norm_row, r, x, weight, out, n, eps)
}

template <Rounding R>
void silu_gate_row(const float* gate, const float* up, float* out, int64_t n) {
  for_row(
      n, KERF_EACH {
        const V g = get(gate + i, m);
        const V silu = rounded<R>(g / (exp_of(-g) + 1.0F));
        put(out + i, rounded<R>(silu * get(up + i, m)), m);
      });
}
void silu_gate_any(const float* gate, const float* up, float* out, int64_t n, Rounding r) {
  KERF_DISPATCH(silu_gate_row, r, gate, up, out, n)
}

template <Rounding R>
void rotate_heads(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines) {
  for (int64_t head = 0; head < heads; ++head) {
    float* first = x + head * 2 * half;
    float* second = first + half;
    for_row(
        half, KERF_EACH {
          const V a = get(first + i, m), b = get(second + i, m), c = get(cosines + i, m), s = get(sines + i, m);
          put(first + i, rounded<R>(rounded<R>(a * c) - rounded<R>(b * s)), m);
          put(second + i, rounded<R>(rounded<R>(b * c) + rounded<R>(a * s)), m);
        });
  }
}
void rotate_any(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines, Rounding r) {
  KERF_DISPATCH(rotate_heads, r, x, heads, half, cosines, sines)
}

float max_of(const float* x, int64_t n) {
  const float lowest = -__builtin_inff();
  V most = all(lowest);
  I nan = {};
  for_row(
      n, KERF_EACH {
        const V v = get(x + i, m, lowest);
        most = larger(v, most);
        nan = nan | (v != v);
      });
  float best = lowest;
  int32_t any = 0;
  for (int j = 0; j < kLanes; ++j) {
    best = most[j] > best ? most[j] : best;
    any |= nan[j];
  }
  return any ? __builtin_nanf("") : best;
}

template <Rounding R>
float softmax_row(float* row, int64_t valid, int64_t n, float scale, bool fused) {
  const float most = max_of(row, valid);
  V sums = {};
  for_row(
      valid, KERF_EACH {
        const V e = exp_of((get(row + i, m, -__builtin_inff()) - most) * scale);
        put(row + i, fused ? rounded<R>(e) : e, m);
        sums = sums + e;
      });
  for_row(
      n - valid, KERF_EACH { put(row + valid + i, V{}, m); });
  const float factor = static_cast<float>(1.0 / total(sums));
  if (fused) return factor;
  for_row(
      valid, KERF_EACH { put(row + i, rounded<R>(get(row + i, m) * factor), m); });
  return 1;
}
float softmax_any(float* row, int64_t valid, int64_t n, float scale, bool fused, Rounding r) {
  KERF_DISPATCH(softmax_row, r, row, valid, n, scale, fused)
  return 1;
}

constexpr int64_t kSumBlock = 256;  // 16 floats per lane: a float sum of 16 adds at most 4 of its own ulp

double sum_exp_of(const float* x, int64_t n, float max) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    V sums = {};
    const float* block = x + begin;
    for_row(
        n - begin < kSumBlock ? n - begin : kSumBlock,
        KERF_EACH { sums = sums + exp_of(get(block + i, m, -__builtin_inff()) - max); });
    sum += total(sums);
  }
  return sum;
}

double sum_exp_difference_of(const float* a, const float* b, int64_t n, float max) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    V sums = {};
    const float *pa = a + begin, *pb = b + begin;
    for_row(
        n - begin < kSumBlock ? n - begin : kSumBlock, KERF_EACH {
          const V va = get(pa + i, m), vb = get(pb + i, m);  // missing lanes: difference 0
          sums = sums + exp_of(va - max) * (va - vb);
        });
    sum += total(sums);
  }
  return sum;
}

void exp_difference_row(const float* a, float log_a, const float* b, float log_b, int64_t n, float factor, float* out) {
  for_row(
      n, KERF_EACH { put(out + i, (exp_of(get(b + i, m) - log_b) - exp_of(get(a + i, m) - log_a)) * factor, m); });
}

void exp_row(const float* x, float* out, int64_t n) {
  for_row(
      n, KERF_EACH { put(out + i, exp_of(get(x + i, m)), m); });
}

}  // namespace

const Elementwise& KERF_ELEMENTWISE() {
  static const Elementwise table = {round_any,   add_any, rms_norm_any, silu_gate_any,         rotate_any,
                                    softmax_any, max_of,  sum_exp_of,   sum_exp_difference_of, exp_difference_row,
                                    exp_row};
  return table;
}

}  // namespace kerf
