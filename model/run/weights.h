// Weights as a model run asks for them: matrices that multiply, vectors, embedding rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/ops/linear.h"

namespace kerf {

class WeightProvider {
 public:
  virtual ~WeightProvider() = default;
  /// Loaded when asked for; the caller drops it when the block is done.
  virtual std::unique_ptr<Linear> linear(const Site&) = 0;
  /// A norm's weight or a bias as it acts (TensorInfo::plus added), by its name in the checkpoint.
  virtual std::vector<float> vector(const std::string& name) = 0;
  /// out[t] = row ids[t] of the embedding, [ids.size(), hidden]. Error bad_input for an id outside of the vocabulary.
  virtual void embed(std::span<const int32_t> ids, float* out) = 0;
};

/// The checkpoint's own weights in float32, multiplied by matmul_nt. The matrices of a block are converted when asked
/// for; of the embedding and the head only the rows in use ever are.
/// Error numerical for NaN or infinity, naming tensor and index. The source must outlive the result and what it
/// returns.
std::unique_ptr<WeightProvider> dense_weights(const Architecture&, const TensorSource&);

/// The same for one tensor: a [out, in] matrix held as float32, or, with `by_panel`, converted where it is applied
/// (then by one thread at a time).
std::unique_ptr<Linear> dense_linear(const TensorSource&, const Site&, bool by_panel);

/// A vector as it acts: its numbers plus TensorInfo::plus. Error as check_finite().
std::vector<float> read_vector(const TensorSource&, const std::string& name);

/// Error numerical when there is a NaN or an infinity among the rows of a tensor [.., cols], of which `row_begin` is
/// the first. Scans fast.
void check_finite(std::span<const float> values, std::string_view tensor, int64_t row_begin, int64_t cols);
/// Error bad_input for ids outside of [0, vocab).
void check_ids(std::span<const int32_t> ids, int64_t vocab);

}  // namespace kerf
