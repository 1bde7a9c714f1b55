// What each kind of operation (model/arch/architecture.h) does: forward in each arithmetic, its cost, and what a
// rescaling of its output channels means for it, and backward. A plug-in: one file op_<kind>.cc that defines `const
// Operation& op_<kind>()`; the pass over a model (model/run) knows none of them by name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "kernels/arithmetic.h"
#include "kernels/elementwise/elementwise.h"
#include "model/arch/architecture.h"
#include "model/ops/linear.h"

namespace kerf {

/// How numbers are rounded on the way (kernels/arithmetic.h).
struct OpRounding {
  Rounding stream = Rounding::none;     // of every result
  Rounding attention = Rounding::none;  // of operands inside of attention
  bool fused_attention = false;         // as AttentionShape::fused
  GgmlAttention ggml_attention = {};    // of forward_ggml
};

/// The weights of one operation while it runs, as they act (1 + w where the file has w).
struct OpWeights {
  const Linear* linear = nullptr;
  std::span<const float> weight, bias;  // of norms; `bias` of matrices, too. Empty where there is none
  std::span<const float> table;         // as Operation::table() made it
};

/// One operation on a batch of whole windows. Activations are [windows * length, size of their axis].
struct OpCall {
  const Architecture& arch;
  const Op& op;
  OpWeights weights;
  OpRounding rounding;
  int64_t windows = 0, length = 0;
  std::span<const float* const> in;  // in the order of op.inputs
  float* out = nullptr;              // may be an input where the operation works in place
  int64_t columns = 0;               // of the rows at hand, where they are a part of the axis; 0: all of it

  int64_t tokens() const { return windows * length; }
  int64_t width() const { return columns > 0 ? columns : arch.axis(op.axis).size; }
};

/// The way back through one operation: what the gradient of a loss to its output is to its inputs and weights. All that
/// is wanted is added to what is there.
struct OpGradient {
  const float* d_out = nullptr;  // [tokens, width]
  std::span<float* const> d_in;  // as call.in; nullptr: not wanted
  float* d_linear = nullptr;     // [out, in], as OpWeights; nullptr: not wanted
  float *d_weight = nullptr, *d_bias = nullptr;
};

/// What dividing channels of an operation's output asks for.
struct FoldRule {
  enum class Where {
    nowhere,       // nothing exact does it
    own_weight,    // its own weight (and bias) take it
    through_input  // the same channels of one input take it
  };
  Where where = Where::nowhere;
  size_t input = 0;
  bool shared_heads = false;  // that input's axis has fewer groups: one of them serves several of the output's
};

struct Operation {
  using Forward = void (*)(const OpCall&);
  using Backward = void (*)(const OpCall&, const OpGradient&);

  std::string_view name;
  size_t index = 0;  // of its type in Op::what
  /// As Hugging Face's code computes it, rounded where `rounding` says so; sums in any order.
  Forward forward = nullptr;
  /// In llama.cpp's order of sums (kernels/gguf/ggml_ops.h), float32; nullptr where it has no such operation.
  Forward forward_ggml = nullptr;
  /// Of `forward`, called as that was, with what it gave in `out`; as if nothing were rounded there. nullptr for what
  /// the pass does itself (Embed).
  Backward backward = nullptr;
  /// What depends on the operation and the positions alone, computed once per run for all that are `alike`.
  std::vector<float> (*table)(const Op&, int64_t length, Rounding, bool ggml) = nullptr;
  bool (*alike)(const Op&, const Op&) = nullptr;
  /// Multiply-adds of products for one token, in windows of `length`.
  double (*multiply_adds)(const Architecture&, const Op&, int64_t length) = nullptr;
  FoldRule (*fold)(const Op&) = nullptr;  // nullptr: nothing exact divides its channels
  bool may_overwrite_first_input = false;
};

std::span<const Operation* const> all_ops();
/// Error internal when nothing computes it.
const Operation& operation(const Op&);

/// The index of a type in Op::what.
template <class T, size_t I = 0>
constexpr size_t op_index() {
  using What = decltype(Op::what);
  if constexpr (std::is_same_v<std::variant_alternative_t<I, What>, T>)
    return I;
  else
    return op_index<T, I + 1>();
}

/// Multiply-adds of one block for one token in windows of `length`: matrices, and attention's own products.
double block_multiply_adds(const Architecture&, int64_t layer, int64_t length);

}  // namespace kerf
