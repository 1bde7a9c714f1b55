// What a runtime does to numbers on their way from the stored weights to the logits, apart from the packed products
// themselves (kernels/gemm.h).
#pragma once

#include "core/dtype.h"

namespace kerf {

/// Float32 throughout is the reference. Rounding is to nearest even, element by element.
struct Arithmetic {
  /// The result of every operation (norm, product, rotation, gate, residual sum) is rounded to this type: runtimes of
  /// the Hugging Face family compute in the model's own dtype, llama.cpp in F32.
  Dtype stream = Dtype::f32;
  /// Queries, cached keys and values, and softmax probabilities are rounded to this before the attention products
  /// (llama.cpp's CPU code without flash attention: F16). Sums are float32.
  Dtype attention = Dtype::f32;
  /// Probabilities are rounded before they are divided by their sum, and the result of the product is divided instead:
  /// fused kernels, such as PyTorch's scaled_dot_product_attention and FlashAttention.
  bool fused_attention = false;
};

}  // namespace kerf
