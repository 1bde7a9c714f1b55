#include "tests/kernels/packed_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>

#include "core/checked.h"

namespace kerf::test {
namespace {

using Bits = std::mt19937;

uint32_t below(Bits& bits, uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(bits); }

// Of either sign; one in eight is subnormal in F16, one in sixteen zero.
uint16_t random_half(Bits& bits) {
  const uint32_t sign = below(bits, 2) << 15;
  if (below(bits, 16) == 0) return static_cast<uint16_t>(sign);
  if (below(bits, 8) == 0) return static_cast<uint16_t>(sign | below(bits, 0x400));
  return static_cast<uint16_t>(sign | (0x1000u + below(bits, 0x3000)));  // 2^-11 to 2
}

template <class T>
void put(std::vector<std::byte>& out, size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof(T));
}

void fill_random(std::vector<std::byte>& bytes, Bits& bits) {
  // Extremes are likely: a quarter of the bytes has all sign bits, or only those, set.
  for (std::byte& b : bytes)
    b = static_cast<std::byte>(below(bits, 4) ? below(bits, 256) : below(bits, 2) ? 0x80 : 0xff);
}

/// Where the numbers of a GGUF block lie.
struct GgufType {
  std::string_view format;
  int64_t weights, bytes;
  std::vector<int64_t> halves;                      // F16 numbers
  std::vector<std::array<int64_t, 2>> scales = {};  // bytes begin .. end - 1: scales and offsets of parts of the block
  uint8_t lowest = 0x00, highest = 0xff;            // bytes of codes that stand for extreme weights
  // Where `scales` are floats of 8 bits: the bytes drawn from, and that of 1 (some types store twice of it).
  uint32_t scale_low = 0, scale_high = 255;
  uint8_t scale_one = 0;

  bool offsets() const { return weights == 256 || halves.size() > 1; }
};

const GgufType* gguf_type(std::string_view format) {
  static const std::vector<GgufType> types = {
      {.format = "Q8_0", .weights = 32, .bytes = 34, .halves = {0}, .lowest = 0x80, .highest = 0x7f},
      {"Q4_0", 32, 18, {0}},
      {"Q4_1", 32, 20, {0, 2}},
      {"Q5_0", 32, 22, {0}},
      {"Q5_1", 32, 24, {0, 2}},
      {"IQ4_NL", 32, 18, {0}},
      // Scales 2^-9 to 2^5, so that no sum overflows. The lowest nibble is 15, the highest 7.
      {"MXFP4", 32, 17, {}, {{0, 1}}, 0xff, 0x77, 118, 132, 127},
      {"NVFP4", 64, 36, {}, {{0, 4}}, 0xff, 0x77, 0, 255, 0x38},
      {"Q1_0", 128, 18, {0}},
      {"Q2_0", 64, 18, {0}},
      {"Q2_K", 256, 84, {80, 82}, {{0, 16}}},
      {"Q3_K", 256, 110, {108}, {{96, 108}}},
      {"Q4_K", 256, 144, {0, 2}, {{4, 16}}},
      {"Q5_K", 256, 176, {0, 2}, {{4, 16}}},
      {"Q6_K", 256, 210, {208}, {{192, 208}}},
      {"IQ4_XS", 256, 136, {0}, {{2, 8}}},
      {"TQ1_0", 256, 54, {52}},
      {"TQ2_0", 256, 66, {64}},
      {"IQ1_S", 256, 50, {0}},
      // Top nibbles of four bytes are the scale: 0x3333.
      {"IQ1_M", 256, 56, {}, {}, 0x30, 0x3f},
      {"IQ2_XXS", 256, 66, {0}},
      {"IQ2_XS", 256, 74, {0}},
      {"IQ2_S", 256, 82, {0}},
      {"IQ3_XXS", 256, 98, {0}},
      {"IQ3_S", 256, 110, {0}},
  };
  for (const GgufType& type : types)
    if (type.format == format) return &type;
  return nullptr;
}

PackedCase gguf_case(const GgufType& type, int64_t rows, int64_t cols) {
  Bits bits(static_cast<uint32_t>(rows * 10007 + cols));
  PackedCase c{.name = fmt::format("{} x {}", rows, cols)};
  const int64_t blocks = rows * (cols / type.weights);
  c.codes.resize(static_cast<size_t>(blocks * type.bytes));
  fill_random(c.codes, bits);
  if (type.offsets()) c.offsets.resize(c.codes.size());
  for (int64_t b = 0; b < blocks; ++b) {
    const auto keep = [&](int64_t begin, int64_t end) {
      const auto from = c.codes.begin() + b * type.bytes;
      if (type.offsets()) std::copy(from + begin, from + end, c.offsets.begin() + b * type.bytes + begin);
    };
    for (int nibble = 0; type.format == "IQ1_M" && nibble < 4; ++nibble) {  // whose F16 number lies in top nibbles
      std::byte& byte = c.codes[static_cast<size_t>(b * type.bytes + 49 + 2 * nibble)];
      byte = (byte & std::byte{15}) | static_cast<std::byte>((nibble == 3 ? 2 : below(bits, 16)) << 4);
    }
    for (const int64_t at : type.halves) {
      put(c.codes, static_cast<size_t>(b * type.bytes + at), random_half(bits));
      keep(at, at + 2);
    }
    for (const auto& [begin, end] : type.scales) {
      for (int64_t at = begin; type.scale_one && at < end; ++at)
        put(c.codes, static_cast<size_t>(b * type.bytes + at),
            static_cast<uint8_t>(type.scale_low + below(bits, type.scale_high - type.scale_low + 1)));
      keep(begin, end);
    }
  }
  c.matrix = {.rows = rows, .cols = cols, .codes = c.codes.data(), .code_stride = cols / type.weights * type.bytes};
  // One level: one term per block (or per lane of a block, whose absolute sum is no larger than that of the single
  // products), converted and scaled with one rounding, added in at most cols / 32 steps plus 5 to join 16 lanes and 2
  // to join chains. Two levels: weights themselves go through 3 roundings and the product of scales through one; at
  // most 8 terms per block are converted (their integers may exceed 2^24), scaled and added, and joined in 4 steps.
  c.roundings = type.weights == 256 ? cols / 32 + 12 : cols / 32 + 8;
  if (type.weights == 32 && type.offsets()) c.offset_at = type.halves[1];
  return c;
}

PackedCase ct_case(int bits_per_code, int64_t rows, int64_t cols, int64_t group, Dtype scale_dtype, Dtype compute) {
  Bits bits(static_cast<uint32_t>(rows * 10007 + cols * 31 + group));
  PackedCase c{.name = fmt::format("{} x {} in groups of {}, scales {}, computed in {}", rows, cols, group,
                                   name_of(scale_dtype), name_of(compute))};
  const int64_t stride = (cols * bits_per_code + 31) / 32 * 4, groups = cols / group;
  c.codes.resize(static_cast<size_t>(rows * stride));
  fill_random(c.codes, bits);
  std::vector<float> scales(static_cast<size_t>(rows * groups));
  for (float& s : scales) s = f16_to_f32(random_half(bits)) * (1.0f + 0x1p-12f * static_cast<float>(below(bits, 16)));
  const int64_t scale_bytes = bits_of(scale_dtype) / 8;
  c.scales.resize(scales.size() * static_cast<size_t>(scale_bytes));
  from_f32(scale_dtype, scales, c.scales);
  c.matrix = {.rows = rows,
              .cols = cols,
              .codes = c.codes.data(),
              .code_stride = stride,
              .scales = c.scales.data(),
              .scale_stride = groups * scale_bytes,
              .scale_dtype = scale_dtype,
              .bits = bits_per_code,
              .group = group,
              .compute = compute};
  c.roundings = cols + 8;
  return c;
}

// Codes of 8 bits with 8-bit activations; blocks are cut off at the edges.
PackedCase w8_case(std::string_view format, int64_t rows, int64_t cols, int64_t scale_rows, int64_t group,
                   int64_t activation_group, Dtype scale_dtype, Dtype compute) {
  PackedCase c = ct_case(8, rows, cols, cols, scale_dtype, compute);
  c.name = fmt::format("{} x {} in blocks of {} x {}, activations by {}, scales {}, computed in {}", rows, cols,
                       scale_rows, group, activation_group, name_of(scale_dtype), name_of(compute));
  Bits bits(static_cast<uint32_t>(rows * 31 + cols));
  c.codes.resize(static_cast<size_t>(rows * cols));  // to the byte, so that reading past the end is noticed
  if (format.ends_with("fp8"))
    for (std::byte& b : c.codes)
      if ((std::to_integer<int>(b) & 0x7f) == 0x7f) b = std::byte{0x7e};  // not the code of a NaN
  const int64_t scale_cols = (cols + group - 1) / group;
  std::vector<float> scales(static_cast<size_t>((rows + scale_rows - 1) / scale_rows * scale_cols));
  for (float& s : scales) s = f16_to_f32(random_half(bits)) * (1.0f + 0x1p-12f * static_cast<float>(below(bits, 16)));
  c.scales.resize(scales.size() * static_cast<size_t>(bits_of(scale_dtype) / 8));
  from_f32(scale_dtype, scales, c.scales);
  c.matrix.codes = c.codes.data();
  c.matrix.code_stride = cols;
  c.matrix.scales = c.scales.data();
  c.matrix.scale_stride = scale_cols * bits_of(scale_dtype) / 8;
  c.matrix.group = group;
  c.matrix.scale_rows = scale_rows;
  c.matrix.activation_group = activation_group;
  return c;
}

std::vector<PackedCase> w8_cases(std::string_view format) {
  std::vector<PackedCase> cases;
  constexpr Dtype f32 = Dtype::f32, f16 = Dtype::f16, bf16 = Dtype::bf16;
  const auto add = [&](int64_t rows, int64_t cols, int64_t scale_rows, int64_t group, int64_t activation_group,
                       Dtype scale, Dtype compute) {
    cases.push_back(w8_case(format, rows, cols, scale_rows, group, activation_group, scale, compute));
  };
  for (int64_t rows : {1, 3, 17, 64}) {
    add(rows, 7, 1, 7, 7, f16, bf16);
    add(rows, 36, rows, 36, 36, f32, f32);
    add(rows, 100, 1, 100, 100, f16, f16);
    add(rows, 288, 1, 288, 288, bf16, bf16);
    add(rows, 768, rows, 768, 768, bf16, f32);
    add(rows, 2064, 1, 2064, 2064, f32, bf16);
    if (format == "vllm-w8a8") continue;  // whole rows only
    add(rows, 40, 16, 16, 8, f32, bf16);
    add(rows, 300, 128, 128, 100, bf16, f16);
    add(rows, 384, 128, 128, 128, bf16, bf16);
    add(rows, 2176, 128, 128, 128, f32, f32);
  }
  return cases;
}

bool is_w8(std::string_view format) { return format.ends_with("w8a8") || format.ends_with("fp8"); }

int ct_bits(std::string_view format) { return format == "ct-int4" ? 4 : format == "ct-int8" ? 8 : 0; }

}  // namespace

std::vector<float> PackedCase::random_rows(int64_t tokens, uint32_t seed) const {
  Bits bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(tokens * matrix.cols));
  for (float& v : x) v = below(bits, 64) == 0 ? 30.0f * normal(bits) : normal(bits);
  for (int64_t t = 0; t < tokens; ++t) {  // One stretch of 32 of zeros, one of values whose reciprocal overflows
    float* row = x.data() + t * matrix.cols;
    const int64_t blocks = matrix.cols / 32;
    if (blocks > 1) std::fill_n(row + below(bits, static_cast<uint32_t>(blocks)) * 32, 32, 0.0f);
    if (blocks > 2)
      for (int k = 0; k < 32; ++k) row[32 + k] = 1e-39f * static_cast<float>(k - 16);
  }
  return x;
}

std::vector<PackedCase> packed_cases(std::string_view format) {
  if (is_w8(format)) return w8_cases(format);
  std::vector<PackedCase> cases;
  const int bits = ct_bits(format);
  const GgufType* gguf = gguf_type(format);
  if (!bits && !gguf) throw std::runtime_error(fmt::format("no random matrices for {} yet: add them", format));
  for (int64_t rows : {1, 3, 17, 64}) {
    if (gguf) {
      for (int64_t cols : {32, 96, 256, 288, 320, 768, 2048})
        if (cols % gguf->weights == 0) cases.push_back(gguf_case(*gguf, rows, cols));
      continue;
    }
    constexpr Dtype f32 = Dtype::f32, f16 = Dtype::f16, bf16 = Dtype::bf16;
    cases.push_back(ct_case(bits, rows, 40, 8, bf16, bf16));
    cases.push_back(ct_case(bits, rows, 100, 20, f16, f16));
    cases.push_back(ct_case(bits, rows, 36, 36, f32, f32));
    cases.push_back(ct_case(bits, rows, 35, 5, bf16, f32));
    cases.push_back(ct_case(bits, rows, 7, 1, f16, bf16));
    cases.push_back(ct_case(bits, rows, 288, 32, bf16, bf16));
    cases.push_back(ct_case(bits, rows, 288, 288, f16, f16));
    cases.push_back(ct_case(bits, rows, 768, 128, f32, bf16));
    cases.push_back(ct_case(bits, rows, 2048, 64, bf16, f32));
    cases.push_back(ct_case(bits, rows, 2064, 16, f16, bf16));
    cases.push_back(ct_case(bits, rows, 2400, 48, f32, f16));
  }
  return cases;
}

bool is_gguf(std::string_view format) { return gguf_type(format) != nullptr; }

bool has_two_levels(std::string_view format) {
  const GgufType* type = gguf_type(format);
  return type && type->weights == 256;
}

PackedCase extreme_case(std::string_view format, int64_t cols) {
  const GgufType* gguf = gguf_type(format);
  if (is_w8(format)) {
    PackedCase c = w8_case(format, 17, cols, 1, cols, cols, Dtype::f32, Dtype::f32);
    const bool fp8 = format.ends_with("fp8");
    for (int64_t i = 0; i < 17 * cols; ++i) {
      const bool lowest = i / cols % 3 == 0 || (i / cols % 3 == 2 && i % 2 == 0);
      // -128 and 127, or -8 and 7.5: products of e4m3 with 128 columns of these stay exact in float32.
      c.codes[static_cast<size_t>(i)] = static_cast<std::byte>(fp8 ? (lowest ? 0xd0 : 0x4f) : (lowest ? 0x80 : 0x7f));
    }
    for (size_t at = 0; at < c.scales.size(); at += 4) put(c.scales, at, 1.0f);
    return c;
  }
  PackedCase c = gguf ? gguf_case(*gguf, 17, round_up(cols, gguf->weights))
                      : ct_case(ct_bits(format), 17, cols, 32, Dtype::f32, Dtype::f32);
  std::byte* codes = c.codes.data();
  // Row r: all lowest, all highest, or the two in turn.
  for (int64_t r = 0; r < c.matrix.rows; ++r) {
    for (int64_t i = 0; i < c.matrix.code_stride; ++i) {
      const bool lowest = r % 3 == 0 || (r % 3 == 2 && i % 2 == 0);
      const uint8_t low = gguf ? gguf->lowest : 0x00, high = gguf ? gguf->highest : 0xff;
      codes[r * c.matrix.code_stride + i] = static_cast<std::byte>(lowest ? low : high);
    }
  }
  for (size_t block = 0; gguf && block < c.codes.size(); block += static_cast<size_t>(gguf->bytes)) {
    for (const int64_t at : gguf->halves) put(c.codes, block + static_cast<size_t>(at), f32_to_f16(1.0f));
    for (const auto& [begin, end] : gguf->scales)
      for (int64_t at = begin; gguf->scale_one && at < end; ++at)
        put(c.codes, block + static_cast<size_t>(at), gguf->scale_one);
  }
  for (size_t at = 0; at < c.scales.size(); at += 4) put(c.scales, at, 1.0f);
  return c;
}

}  // namespace kerf::test
