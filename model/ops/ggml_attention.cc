#include "model/ops/ggml_attention.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/gguf/ggml_flash.h"

namespace kerf {

const GgmlOps& ggml_ops() {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return ggml_ops_avx512();
  if (isa() == Isa::avx2) return ggml_ops_avx2();
#endif
  return ggml_ops_ref16();
}

bool ggml_sums_pairs(int64_t n) {
#if defined(__x86_64__)
  return n % 32 == 0 && isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

void ggml_pair_order(std::span<float> values) {
  for (size_t begin = 0; begin + 32 <= values.size(); begin += 32) {
    float odd[16], even[16];
    for (size_t i = 0; i < 16; ++i) {
      even[i] = values[begin + 2 * i];
      odd[i] = values[begin + 2 * i + 1];
    }
    std::copy_n(odd, 16, &values[begin]);
    std::copy_n(even, 16, &values[begin + 16]);
  }
}

namespace {

// YaRN as llama.cpp turns it (ops.cpp, rope_yarn): between two pairs the frequency goes from kept to divided.
struct Yarn {
  float low, high, factor, magnitude;
  explicit Yarn(const Rope& rope) {
    const RopeTable& t = rope.table;
    const auto pair_of = [&](double turns) {
      return static_cast<float>(rope.rotated) *
             std::log(static_cast<float>(t.original_context) /
                      (static_cast<float>(turns) * 2 * static_cast<float>(M_PI))) /
             (2 * std::log(static_cast<float>(t.theta)));
    };
    low = std::max(0.0F, std::floor(pair_of(t.beta_fast)));
    high = std::min(static_cast<float>(rope.rotated - 1), std::ceil(pair_of(t.beta_slow)));
    factor = 1.0F / static_cast<float>(t.factor);
    magnitude = static_cast<float>(t.attention_factor);
  }
  float turned(float angle, size_t pair) const {
    const float ramp = (static_cast<float>(pair) - low) / std::max(0.001F, high - low);
    const float mix = 1 - std::min(1.0F, std::max(0.0F, ramp));
    return factor * angle * (1 - mix) + angle * mix;
  }
};

}  // namespace

void ggml_rope_tables(const Rope& rope, int64_t length, std::vector<float>& cosines, std::vector<float>& sines) {
  const RopeTable& table = rope.table;
  const float step = std::pow(static_cast<float>(table.theta), -2.0F / static_cast<float>(rope.rotated));
  const float freq_scale = table.scaling == RopeScaling::linear ? 1.0F / static_cast<float>(table.factor) : 1.0F;
  // Linear scales and YaRN travel as keys of their own, all others as rope_freqs.weight.
  std::vector<float> divisors(static_cast<size_t>(rope.rotated / 2), 1.0F);
  const bool yarn = table.scaling == RopeScaling::yarn;
  if ((table.scaling != RopeScaling::linear && !yarn) || !table.divisors.empty()) divisors = rope.divisors();
  const Yarn blend(rope);
  for (int64_t t = 0; t < length; ++t) {
    auto angle = static_cast<float>(t);
    for (size_t i = 0; i < divisors.size(); ++i) {
      const float turned = yarn ? blend.turned(angle / divisors[i], i) : freq_scale * (angle / divisors[i]);
      cosines.push_back(yarn ? std::cos(turned) * blend.magnitude : std::cos(turned));
      sines.push_back(yarn ? std::sin(turned) * blend.magnitude : std::sin(turned));
      angle *= step;
    }
  }
}

void ggml_causal_attention(const GgmlAttention& how, const AttentionShape& s, bool interleaved, bool scales_queries,
                           const float* q, const float* k, const float* v, float* out) {
  if (is_quantized(how.cache) && s.head_dim % kGgmlBlock != 0)
    fail(ErrorKind::internal, "heads of {} do not divide into the blocks of a quantized cache", s.head_dim);
  const GgmlOps& ops = ggml_ops();
  const GgmlHead head{.length = s.length,
                      .head_dim = s.head_dim,
                      .q_stride = s.heads * s.head_dim,
                      .kv_stride = s.kv_heads * s.head_dim,
                      .scale = s.scale,
                      .interleaved = interleaved,
                      .scale_queries = scales_queries,
                      .window = s.window > 0 ? s.window : s.length,
                      .cache = how.cache};
  const auto attend = how.flash ? ops.flash_attention : ops.attention;
  const auto floats = static_cast<size_t>(how.flash ? ggml_flash_scratch_floats(head) : ggml_scratch_floats(head));
  parallel_for(s.windows * s.heads, [&](int64_t task) {
    const int64_t window = task / s.heads, h = task % s.heads, kv_head = h / (s.heads / s.kv_heads);
    const int64_t q_at = window * s.length * head.q_stride + h * s.head_dim;
    const int64_t kv_at = window * s.length * head.kv_stride + kv_head * s.head_dim;
    thread_local std::unique_ptr<float[]> scratch;
    thread_local size_t size = 0;
    if (size < floats) {
      scratch = std::make_unique_for_overwrite<float[]>(floats);
      size = floats;
    }
    attend(head, q + q_at, k + kv_at, v + kv_at, out + q_at, scratch.get());
  });
}

}  // namespace kerf
