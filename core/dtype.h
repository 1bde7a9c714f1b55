// Number formats of tensor elements, and their exact conversion to and from float32.
//
// All narrowing conversions round to nearest, ties to even. What happens past the largest finite value follows the
// specification of each format:
//   F16, BF16   IEEE 754: overflow becomes infinity, NaN stays a (quiet) NaN.
//   F8_E4M3     OCP OFP8 "e4m3fn", no infinity: values that round past 448, and infinities, saturate to +-448
//               (the "satfinite" conversion of the runtimes); NaN stays NaN (0x7f).
//   F8_E5M2     OCP OFP8: saturates to +-57344 in the same way; NaN stays NaN.
//   F8_E8M0     OCP MX scale 2^(code-127), positive only: rounds to the nearest power of two (ties, at 1.5 times a
//               power, to the even code), below 2^-127 and zero give code 0, above gives 254; NaN gives 255.
//   F4_E2M1     OCP MX element {0,.5,1,1.5,2,3,4,6} with sign: saturates to +-6; NaN has no code and is an error.
// Sources: IEEE 754-2019; OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats (MX) 1.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kerf {

/// The element types of the safetensors specification; F4 and F6 occupy 4 and 6 bits each.
enum class Dtype : uint8_t {
  boolean,
  u8,
  i8,
  f4_e2m1,
  f6_e2m3,
  f6_e3m2,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
};

/// Size of one element in bits.
int bits_of(Dtype);
/// The name in a safetensors header: "BF16", "F8_E4M3", ...
std::string_view name_of(Dtype);
std::optional<Dtype> dtype_from_name(std::string_view name);
/// "bfloat16", "float16", "float32", ... as config.json's `torch_dtype` / `dtype` spells it, or nullopt.
std::optional<Dtype> dtype_from_torch_name(std::string_view name);
std::string_view torch_name_of(Dtype);

/// Bytes that n elements of a type occupy: n * bits / 8, rounded up; Error bad_input on overflow.
int64_t bytes_of(Dtype, int64_t n);

float f16_to_f32(uint16_t);
uint16_t f32_to_f16(float);
float bf16_to_f32(uint16_t);
uint16_t f32_to_bf16(float);
float f8_e4m3_to_f32(uint8_t);
uint8_t f32_to_f8_e4m3(float);
float f8_e5m2_to_f32(uint8_t);
uint8_t f32_to_f8_e5m2(float);
float e8m0_to_f32(uint8_t);
uint8_t f32_to_e8m0(float);
float f4_e2m1_to_f32(uint8_t);
uint8_t f32_to_f4_e2m1(float);

/// dst[i] = src[i] as float32, exact. Types: F32 F16 BF16 F8_* and F64 (rounded), I8 U8 I16 U16 I32 (rounded past
/// 2^24), BOOL. Error unsupported for the others (F4, F6, the FNUZ float8s, C64, 64-bit integers).
void to_f32(Dtype, std::span<const std::byte> src, std::span<float> dst);
/// The reverse, for F32 F16 BF16 F8_*; Error unsupported for the others.
void from_f32(Dtype, std::span<const float> src, std::span<std::byte> dst);

/// x rounded to the nearest value of the type (F32 leaves it alone). Types: F32, F16, BF16.
float round_to(Dtype, float x);
void round_to(Dtype, std::span<float> x);

}  // namespace kerf
