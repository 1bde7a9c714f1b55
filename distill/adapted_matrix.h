// A matrix that stays, beside which a low-rank adapter is trained: W + B A (LoRA, arXiv 2106.09685).
#pragma once

#include <vector>

#include "core/dtype.h"
#include "core/low_rank.h"
#include "distill/trained_tensor.h"

namespace kerf {

/// The type that adapters are stored in.
inline constexpr Dtype kAdapterType = Dtype::f16;

/// B and A are trained; they act rounded to kAdapterType (straight-through: the gradient of a rounded number is taken
/// for that of the number). With D the gradient of W + B A:  d B = D AT,  d A = BT D.
class AdaptedMatrix final : public TrainedTensor {
 public:
  /// W [out, in] as it acts. The adapter is zero until start().
  AdaptedMatrix(std::vector<float> base, int64_t out, int64_t in, int64_t rank);
  void start(const LowRank&);

  void row(int64_t r, std::span<float> out) const override;
  std::vector<float> values() const override { return values_; }
  bool trained() const override { return true; }
  int64_t size() const override { return std::ssize(values_); }
  void add_gradient(std::span<const float> d) override;
  /// Error internal: embeddings have no adapter.
  void add_row_gradient(int64_t r, std::span<const float> d) override;
  /// Steps of both are relative to the size that their numbers have when this is called.
  std::vector<Parameter> parameters() override;
  void settle() override;

  std::span<const float> base() const { return base_; }
  /// As it is stored.
  LowRank adapter() const;

 private:
  const std::vector<float> base_;
  LowRank factors_, d_factors_;
  std::vector<float> values_;
};

}  // namespace kerf
