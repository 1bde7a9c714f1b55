// Whether what is to be stored fits the types that hold it: scales beyond 65504 become infinite in F16, and so do
// weights that a runtime decodes to F16; numbers far below its normal ones lose their precision there, or become 0.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <string_view>

#include "core/tensor.h"
#include "grids/quantized_matrix.h"
#include "pipeline/plan/pack.h"
#include "pipeline/plan/plan.h"

namespace kerf {

/// The largest finite number of F16.
inline constexpr float kLargestF16 = 65504;

/// Not finite where one of them is not.
float largest_magnitude(std::span<const float>);

/// Error numerical, naming the vector, for a number that is infinite in the type that the plan stores it in.
void check_range(const TargetPlan&, const PlannedVector&, std::span<const float> values);
/// The same of weights of a matrix by the largest_magnitude() of some of them, in the type that stores them or to which
/// the target's runtime decodes them.
void check_range(const TargetPlan&, const PlannedMatrix&, float largest);
/// The same of the parameters of a quantized matrix, and of its weights as the target's runtime decodes them.
void check_range(const TargetPlan&, const PlannedMatrix&, const QuantizedMatrix&);

/// How large the weights of one matrix are and the scales that they got, brought panel by panel from any thread.
class Magnitudes {
 public:
  void add(float largest);  // of some weights
  void add(const QuantizedMatrix&);
  /// No scale will be too small.
  void settle() { scale_ = 1; }
  bool settled() const { return scale_ == 1; }
  /// What to say of a matrix whose largest scale (or weight, of plain numbers) has few bits left in the type that
  /// stores it; "" of others, and of zeros.
  std::string remark(const TargetPlan&, const PlannedMatrix&) const;

 private:
  std::atomic<float> weight_ = 0, scale_ = 0;
};

/// Prints it once, and adds it to the job's remarks. "" is nothing.
void say(const PackJob&, const std::string& remark);

/// What rounding to nearest would be refused for, or holds NaN or infinity, in any matrix of the jobs, and what it
/// would say: one pass over the weights, for runs that come to store them late.
void check_ranges(const TensorSource&, std::span<const PackJob> jobs);

}  // namespace kerf
