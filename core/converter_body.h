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

// All exponent bits are set in NaN and infinity alone, so the largest magnitude as an integer tells.
bool all_finite(const float* x, int64_t n) {
  uint32_t worst = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = bits_of_f32(x[i]) & 0x7fffffffu;
    worst = magnitude > worst ? magnitude : worst;
  }
  return worst < 0x7f800000u;
}

constexpr Converter table_for(Isa isa) {
  return {isa,       widen_all<widen_bf16>, widen_all<widen_f16>, narrow_all<narrow_bf16>, narrow_all<narrow_f16>,
          all_finite};
}

}  // namespace
}  // namespace kerf
