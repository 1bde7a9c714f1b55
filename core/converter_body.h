// Plain loops that the compiler turns into vectors, for converter_<isa>.cc.
#include "core/converter.h"
#include "core/float_bits.h"

namespace kerf {
namespace {

template <float (*widen)(uint16_t)>
void widen_all(const void* from, float* to, int64_t n) {
  const char* p = static_cast<const char*>(from);
  for (int64_t i = 0; i < n; ++i) {
    uint16_t h;
    __builtin_memcpy(&h, p + 2 * i, 2);
    to[i] = widen(h);
  }
}

template <uint16_t (*narrow)(float)>
void narrow_all(const float* from, void* to, int64_t n) {
  char* p = static_cast<char*>(to);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t h = narrow(from[i]);
    __builtin_memcpy(p + 2 * i, &h, 2);
  }
}

// Without the sign, floats are in the order of their bits; NaN and infinity come last.
float largest_magnitude(const float* x, int64_t n) {
  uint32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = bits_of_f32(x[i]) & 0x7fffffffu;
    most = magnitude > most ? magnitude : most;
  }
  return f32_of_bits(most);
}

constexpr Converter table_for(Isa isa) {
  return {isa,
          widen_all<widen_bf16>,
          widen_all<widen_f16>,
          narrow_all<narrow_bf16>,
          narrow_all<narrow_f16>,
          largest_magnitude};
}

}  // namespace
}  // namespace kerf
