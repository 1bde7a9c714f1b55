// Conversions by integer arithmetic on the bit patterns. One template covers every small format with a sign, an
// exponent and a mantissa: rounding happens once, to nearest even, on the float32 mantissa; subnormals are handled by
// adding a power of two whose last mantissa bit is the format's smallest step.
#include "core/dtype.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/checked.h"
#include "core/converter.h"
#include "core/float_bits.h"

namespace kerf {
namespace {

struct Row {
  Dtype dtype;
  int bits;
  std::string_view name, torch;
};
constexpr std::array kRows = {
    Row{Dtype::boolean, 8, "BOOL", "bool"},
    Row{Dtype::u8, 8, "U8", "uint8"},
    Row{Dtype::i8, 8, "I8", "int8"},
    Row{Dtype::f4_e2m1, 4, "F4", "float4_e2m1fn_x2"},
    Row{Dtype::f6_e2m3, 6, "F6_E2M3", ""},
    Row{Dtype::f6_e3m2, 6, "F6_E3M2", ""},
    Row{Dtype::f8_e5m2, 8, "F8_E5M2", "float8_e5m2"},
    Row{Dtype::f8_e4m3, 8, "F8_E4M3", "float8_e4m3fn"},
    Row{Dtype::f8_e8m0, 8, "F8_E8M0", "float8_e8m0fnu"},
    Row{Dtype::i16, 16, "I16", "int16"},
    Row{Dtype::u16, 16, "U16", "uint16"},
    Row{Dtype::f16, 16, "F16", "float16"},
    Row{Dtype::bf16, 16, "BF16", "bfloat16"},
    Row{Dtype::i32, 32, "I32", "int32"},
    Row{Dtype::u32, 32, "U32", "uint32"},
    Row{Dtype::f32, 32, "F32", "float32"},
    Row{Dtype::c64, 64, "C64", "complex64"},
    Row{Dtype::f64, 64, "F64", "float64"},
    Row{Dtype::i64, 64, "I64", "int64"},
    Row{Dtype::u64, 64, "U64", "uint64"},
    Row{Dtype::f8_e4m3fnuz, 8, "F8_E4M3FNUZ", "float8_e4m3fnuz"},
    Row{Dtype::f8_e5m2fnuz, 8, "F8_E5M2FNUZ", "float8_e5m2fnuz"},
};
const Row& row(Dtype t) { return kRows[static_cast<size_t>(t)]; }

// A sign, E exponent bits with the IEEE bias, M mantissa bits. `kMax` is the code of the largest finite magnitude.
template <int E, int M, uint32_t kMax>
struct Small {
  static constexpr int kBias = (1 << (E - 1)) - 1;
  static constexpr uint32_t kSign = 1u << (E + M);

  // The code of |x| rounded to nearest even, as if exponents had no upper end; x finite.
  static uint32_t magnitude(float x) {
    const uint32_t b = bits_of_f32(x) & 0x7fffffffu;
    const int exponent = static_cast<int>(b >> 23) - 127;
    if (exponent < 1 - kBias) {
      // Below the normal range codes count multiples of 2^(1 - bias - M): rounding to an integer is the code.
      const float scaled = std::ldexp(std::bit_cast<float>(b), kBias - 1 + M);
      return static_cast<uint32_t>(std::nearbyint(scaled));
    }
    constexpr int drop = 23 - M;
    const uint32_t rounded = b + ((1u << (drop - 1)) - 1) + ((b >> drop) & 1u);
    return (rounded >> drop) - (static_cast<uint32_t>(127 - kBias) << M);
  }
  static uint32_t sign(float x) { return (bits_of_f32(x) >> 31) << (E + M); }
  static uint32_t saturated(float x) { return sign(x) | std::min(magnitude(x), kMax); }

  // The value of a finite code.
  static float value(uint32_t code) {
    const uint32_t m = code & (kSign - 1);
    const int exponent = static_cast<int>(m >> M);
    const float fraction = static_cast<float>(m & ((1u << M) - 1));
    const float magnitude = exponent == 0 ? std::ldexp(fraction, 1 - kBias - M)
                                          : std::ldexp(fraction + static_cast<float>(1 << M), exponent - kBias - M);
    return code & kSign ? -magnitude : magnitude;
  }
};
using E4m3 = Small<4, 3, 0x7e>;
using E5m2 = Small<5, 2, 0x7b>;
using E2m1 = Small<2, 1, 0x7>;

template <class Decode>
std::array<float, 256> table_of(Decode decode) {
  std::array<float, 256> t;
  for (uint32_t i = 0; i < 256; ++i) t[i] = decode(i);
  return t;
}
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
T load(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T, class F>
void widen(std::span<const std::byte> src, std::span<float> dst, F convert) {
  const std::byte* p = src.data();
  for (size_t i = 0; i < dst.size(); ++i) dst[i] = convert(load<T>(p + i * sizeof(T)));
}
template <class T, class F>
void narrow(std::span<const float> src, std::span<std::byte> dst, F convert) {
  std::byte* p = dst.data();
  for (size_t i = 0; i < src.size(); ++i) {
    const T v = convert(src[i]);
    std::memcpy(p + i * sizeof(T), &v, sizeof v);
  }
}
void check_size(Dtype t, size_t bytes, size_t n) {
  if (bytes != static_cast<size_t>(bytes_of(t, static_cast<int64_t>(n))))
    fail(ErrorKind::internal, "{} {} values do not occupy {} bytes", n, name_of(t), bytes);
}

}  // namespace

int bits_of(Dtype t) { return row(t).bits; }
std::string_view name_of(Dtype t) { return row(t).name; }
std::string_view torch_name_of(Dtype t) { return row(t).torch; }

std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.dtype;
  return std::nullopt;
}

std::optional<Dtype> dtype_from_torch_name(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const Row& r : kRows)
    if (!r.torch.empty() && r.torch == name) return r.dtype;
  return std::nullopt;
}

int64_t bytes_of(Dtype t, int64_t n) {
  return ceil_div(checked_mul<int64_t>(n, bits_of(t), "tensor size in bits"), int64_t{8});
}

float f16_to_f32(uint16_t h) { return widen_f16(h); }
uint16_t f32_to_f16(float x) { return narrow_f16(x); }
float bf16_to_f32(uint16_t h) { return widen_bf16(h); }
uint16_t f32_to_bf16(float x) { return narrow_bf16(x); }

float f8_e4m3_to_f32(uint8_t c) {
  static const auto table = table_of([](uint32_t i) { return (i & 0x7f) == 0x7f ? kNan : E4m3::value(i); });
  return table[c];
}
uint8_t f32_to_f8_e4m3(float x) {
  if (std::isnan(x)) return static_cast<uint8_t>(E4m3::sign(x) | 0x7f);
  if (std::isinf(x)) return static_cast<uint8_t>(E4m3::sign(x) | 0x7e);
  return static_cast<uint8_t>(E4m3::saturated(x));
}

float f8_e5m2_to_f32(uint8_t c) {
  static const auto table = table_of([](uint32_t i) {
    const uint32_t m = i & 0x7f;
    if (m > 0x7c) return kNan;
    if (m == 0x7c) return i & 0x80 ? -kInf : kInf;
    return E5m2::value(i);
  });
  return table[c];
}
uint8_t f32_to_f8_e5m2(float x) {
  if (std::isnan(x)) return static_cast<uint8_t>(E5m2::sign(x) | 0x7f);
  if (std::isinf(x)) return static_cast<uint8_t>(E5m2::sign(x) | 0x7b);
  return static_cast<uint8_t>(E5m2::saturated(x));
}

float e8m0_to_f32(uint8_t c) {
  if (c == 255) return kNan;
  return std::ldexp(1.0f, static_cast<int>(c) - 127);
}
uint8_t f32_to_e8m0(float x) {
  if (std::isnan(x) || x < 0) return 255;
  if (std::isinf(x)) return 254;
  int exponent;
  const float mantissa = std::frexp(x, &exponent);  // x = mantissa * 2^exponent, mantissa in [0.5, 1)
  if (mantissa == 0.0f) return 0;
  const int low = exponent - 1 + 127;  // the code of the power of two at or below x
  const int code = mantissa > 0.75f || (mantissa == 0.75f && (low & 1)) ? low + 1 : low;
  return static_cast<uint8_t>(std::clamp(code, 0, 254));
}

float f4_e2m1_to_f32(uint8_t c) { return E2m1::value(c & 0xfu); }
uint8_t f32_to_f4_e2m1(float x) {
  if (std::isnan(x)) fail(ErrorKind::numerical, "NaN cannot be stored as F4 (E2M1), which has no code for it");
  if (std::isinf(x)) return static_cast<uint8_t>(E2m1::sign(x) | 0x7);
  return static_cast<uint8_t>(E2m1::saturated(x));
}

void to_f32(Dtype t, std::span<const std::byte> src, std::span<float> dst) {
  check_size(t, src.size(), dst.size());
  switch (t) {
    case Dtype::f32:
      std::memcpy(dst.data(), src.data(), src.size());
      return;
    case Dtype::f16:
      converter().f16_to_f32(src.data(), dst.data(), static_cast<int64_t>(dst.size()));
      return;
    case Dtype::bf16:
      converter().bf16_to_f32(src.data(), dst.data(), static_cast<int64_t>(dst.size()));
      return;
    case Dtype::f64:
      widen<double>(src, dst, [](double v) { return static_cast<float>(v); });
      return;
    case Dtype::f8_e4m3:
      widen<uint8_t>(src, dst, [](uint8_t v) { return f8_e4m3_to_f32(v); });
      return;
    case Dtype::f8_e5m2:
      widen<uint8_t>(src, dst, [](uint8_t v) { return f8_e5m2_to_f32(v); });
      return;
    case Dtype::f8_e8m0:
      widen<uint8_t>(src, dst, [](uint8_t v) { return e8m0_to_f32(v); });
      return;
    case Dtype::boolean:
    case Dtype::u8:
      widen<uint8_t>(src, dst, [](uint8_t v) { return static_cast<float>(v); });
      return;
    case Dtype::i8:
      widen<int8_t>(src, dst, [](int8_t v) { return static_cast<float>(v); });
      return;
    case Dtype::i16:
      widen<int16_t>(src, dst, [](int16_t v) { return static_cast<float>(v); });
      return;
    case Dtype::u16:
      widen<uint16_t>(src, dst, [](uint16_t v) { return static_cast<float>(v); });
      return;
    case Dtype::i32:
      widen<int32_t>(src, dst, [](int32_t v) { return static_cast<float>(v); });
      return;
    default:
      fail(ErrorKind::unsupported, "{} tensors cannot be read as numbers here", name_of(t));
  }
}

void from_f32(Dtype t, std::span<const float> src, std::span<std::byte> dst) {
  check_size(t, dst.size(), src.size());
  switch (t) {
    case Dtype::f32:
      std::memcpy(dst.data(), src.data(), dst.size());
      return;
    case Dtype::f16:
      converter().f32_to_f16(src.data(), dst.data(), static_cast<int64_t>(src.size()));
      return;
    case Dtype::bf16:
      converter().f32_to_bf16(src.data(), dst.data(), static_cast<int64_t>(src.size()));
      return;
    case Dtype::f8_e4m3:
      narrow<uint8_t>(src, dst, [](float v) { return f32_to_f8_e4m3(v); });
      return;
    case Dtype::f8_e5m2:
      narrow<uint8_t>(src, dst, [](float v) { return f32_to_f8_e5m2(v); });
      return;
    case Dtype::f8_e8m0:
      narrow<uint8_t>(src, dst, [](float v) { return f32_to_e8m0(v); });
      return;
    default:
      fail(ErrorKind::unsupported, "float32 values cannot be written as {} here", name_of(t));
  }
}

float round_to(Dtype t, float x) {
  switch (t) {
    case Dtype::f32:
      return x;
    case Dtype::f16:
      return f16_to_f32(f32_to_f16(x));
    case Dtype::bf16:
      return bf16_to_f32(f32_to_bf16(x));
    default:
      fail(ErrorKind::internal, "rounding to {} is not an activation type", name_of(t));
  }
}

void round_to(Dtype t, std::span<float> x) {
  if (t == Dtype::f32) return;
  if (t == Dtype::bf16)
    for (float& v : x) v = bf16_to_f32(f32_to_bf16(v));
  else
    for (float& v : x) v = round_to(t, v);
}

}  // namespace kerf
