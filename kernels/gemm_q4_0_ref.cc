// Q4_0: 18 bytes per 32 weights, F16 scale d, then nibbles: byte j holds weight j low and weight j + 16 high; a weight
// is d * (nibble - 8).
#include "kernels/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q4_0 {
  static constexpr int64_t kBytes = 18;
  static constexpr int kZeroPoint = 8;
  static constexpr int kCorrections = 1;
  static int64_t activation_bytes(const PackedMatrix& w) { return q4_0_activation_bytes(w); }
  static bool by_lanes(const PackedMatrix& w) { return w.rows % 8 != 0; }
  static int code(const std::byte* block, int64_t k) {
    const int byte = std::to_integer<int>(block[2 + k % 16]);
    return (k < 16 ? byte & 15 : byte >> 4) - kZeroPoint;
  }
};

}  // namespace

const PackedGemm& gemm_q4_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q4_0>("Q4_0");
  return gemm;
}

}  // namespace kerf
