// Q8_0: 34 bytes per 32 weights, F16 scale d, then int8 q; a weight is d * q.
#include "kernels/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q8_0 {
  static constexpr int64_t kBytes = 34;
  static constexpr int kZeroPoint = 128;  // fast kernels read the code as q + 128, by flipping its top bit
  static constexpr int kCorrections = 8;
  static int64_t activation_bytes(const PackedMatrix& w) { return q8_0_activation_bytes(w); }
  static bool by_lanes(const PackedMatrix&) { return true; }
  static int code(const std::byte* block, int64_t k) { return static_cast<int8_t>(block[2 + k]); }
};

}  // namespace

const PackedGemm& gemm_q8_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q8_0>("Q8_0");
  return gemm;
}

}  // namespace kerf
