// In which floating-point type a repository of the hub holds the model around its packed weights: embedding, head,
// norms, biases and the scales of compressed-tensors; its config names that type, and runtimes compute in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "targets/target.h"

namespace kerf {

/// What the plain numbers of a model (embedding, head, norms, biases) are exactly, and how large.
struct PlainNumbers {
  bool bf16 = true, f16 = true;  // all are numbers of that type
  float largest = 0;             // magnitude
};
/// Reads each of them once, panel by panel on all threads.
PlainNumbers plain_numbers(const Architecture&, const TensorSource&);
/// The magnitude of the largest weight of the other matrices, those of the blocks; read in the same way.
float largest_weight(const Architecture&, const TensorSource&);

/// "float16", "bfloat16" or "float32"; nothing for "" and "auto". Error usage for others.
std::optional<Dtype> parse_dtype(std::string_view);

struct StoredDtype {
  Dtype dtype = Dtype::f32;
  std::string note;  // what to say of it; "" where the model's own is kept
};
/// The model's own dtype, or `asked`. Runtimes run no float32: such a model is stored in bfloat16 or float16, the first
/// of which holds its plain numbers exactly, else float16, which rounds less, or bfloat16 where float16 has not the
/// range (for the numbers, for the family's activations, or for weights: beyond half its largest number, since a code's
/// value may be larger than the weight). Targets that name no dtypes keep the model's. Error usage for what the target
/// does not take.
StoredDtype stored_dtype(const Architecture&, const TensorSource&, const Target&, std::optional<Dtype> asked);

}  // namespace kerf
