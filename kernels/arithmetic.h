// What a runtime does to numbers on their way from the stored weights to the logits, apart from the packed products
// themselves (kernels/gemm.h).
#pragma once

#include "core/dtype.h"
#include "kernels/kv_cache.h"

namespace kerf {

/// In which order float32 sums are taken, and by which steps exponentials and angles are computed.
enum class SumOrder {
  any,   // kerf's own, whichever is fast: within the rounding bounds of any order
  ggml,  // llama.cpp's CPU code on x86: kernels/gguf/ggml_ops.h says it operation by operation,
         // kernels/gguf/q8_gemm_ref.h and q8_k_gemm_ref.h for products with quantized weights (which have no other
         // order). Products with F32, F16 and BF16 weights keep kerf's order.
};

/// How llama.cpp attends (kernels/gguf/ggml_ops.h and ggml_flash.h); its defaults. Without flash attention
/// the cache is in F16.
struct GgmlAttention {
  bool flash = true;
  KvCache cache = KvCache::f16;
  bool operator==(const GgmlAttention&) const = default;
};

/// Float32 throughout is the reference. Rounding is to nearest even, element by element.
struct Arithmetic {
  /// The result of every operation (norm, product, rotation, gate, residual sum) is rounded to this type: runtimes of
  /// the Hugging Face family compute in the model's own dtype, llama.cpp in F32.
  Dtype stream = Dtype::f32;
  /// Queries, cached keys and values, and softmax probabilities are rounded to this before the attention products. Sums
  /// are float32.
  Dtype attention = Dtype::f32;
  /// Probabilities are rounded before they are divided by their sum, and the result of the product is divided instead:
  /// fused kernels, such as PyTorch's scaled_dot_product_attention and FlashAttention.
  bool fused_attention = false;
  /// `ggml` goes with stream and attention F32, not fused: what it rounds in attention, `ggml_attention` says.
  SumOrder order = SumOrder::any;
  GgmlAttention ggml_attention = {};
};

}  // namespace kerf
