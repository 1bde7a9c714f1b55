// What the texts of the vectorised searches ask of an instruction set (lanes.h), with plain C++.
#pragma once
#include <cstdint>

namespace {

constexpr int kLanes = 4;
typedef float Vec __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef int16_t Pairs __attribute__((vector_size(16)));

inline Pairs times(Pairs a, int16_t k) {
  Pairs r{};
  for (int i = 0; i < 2 * kLanes; ++i) r[i] = static_cast<int16_t>((a[i] * k + (1 << 14)) >> 15);
  return r;
}
inline Ints dot(Ints s, Pairs a, Pairs b) {
  for (int i = 0; i < kLanes; ++i) s[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return s;
}
inline Vec looked_up(const float* table, Ints i) {
  Vec r{};
  for (int l = 0; l < kLanes; ++l) r[l] = table[i[l] & 31];
  return r;
}
inline Ints gathered(const int32_t* table, Ints i) {
  Ints r{};
  for (int l = 0; l < kLanes; ++l) r[l] = table[i[l]];
  return r;
}
inline Vec min_of(Vec a, Vec b) { return a < b ? a : b; }
inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }
inline Vec root(Vec x) {
  for (int l = 0; l < kLanes; ++l) x[l] = __builtin_sqrtf(x[l]);
  return x;
}
inline void store_bytes(Ints a, uint8_t* to) {
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<uint8_t>(a[i] & 255);
}
inline void transpose(const float* const* rows, int64_t j, Vec* to) {
  for (int l = 0; l < kLanes; ++l)
    for (int i = 0; i < kLanes; ++i) to[i][l] = rows[l][j + i];
}

}  // namespace
