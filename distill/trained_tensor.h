// One tensor of a student: what stands in it now, and the numbers behind it that training moves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kerf {

/// Numbers that an optimizer moves, and the gradient of the loss with respect to them.
struct Parameter {
  std::span<float> values, gradient;
  /// What a step of rate 1 moves them by: their own size, so that one rate serves weights, norms and scales.
  float unit = 1;
  /// Moved by the sign of the gradient alone, at the rate of codes (optimizer.h).
  bool code = false;
};

/// Of numbers without any: 0.
float root_mean_square(std::span<const float>);

class TrainedTensor {
 public:
  virtual ~TrainedTensor() = default;
  /// Row r of a matrix [rows, cols], as it acts.
  virtual void row(int64_t r, std::span<float> out) const = 0;
  /// All of the tensor, row-major, as it acts.
  virtual std::vector<float> values() const = 0;
  /// Whether gradients are wanted; without, the rest does nothing.
  virtual bool trained() const = 0;
  virtual int64_t size() const = 0;  // of values()
  int64_t gradients_wanted() const { return trained() ? size() : 0; }
  /// Adds to the gradients of the parameters, given that of values().
  virtual void add_gradient(std::span<const float> d) = 0;
  virtual void add_row_gradient(int64_t r, std::span<const float> d) = 0;
  /// Valid as long as the tensor.
  virtual std::vector<Parameter> parameters() = 0;
  /// After the parameters were moved: values() follows, rounded to what can be stored.
  virtual void settle() = 0;
};

/// Plain numbers.
class PlainTensor final : public TrainedTensor {
 public:
  /// Of zeros in a trained one with `keep_zeros`, pruned weights, none becomes another number.
  PlainTensor(std::vector<float> values, int64_t cols, bool trained, bool keep_zeros = false);

  void row(int64_t r, std::span<float> out) const override;
  std::vector<float> values() const override { return values_; }
  bool trained() const override { return trained_; }
  int64_t size() const override { return std::ssize(values_); }
  void add_gradient(std::span<const float> d) override;
  void add_row_gradient(int64_t r, std::span<const float> d) override;
  std::vector<Parameter> parameters() override;
  void settle() override;

  std::span<const float> gradient() const { return gradient_; }

 private:
  std::vector<float> values_, gradient_;
  const int64_t cols_;
  const bool trained_;
  std::vector<uint8_t> zero_;  // 1: stays zero; empty: none does
};

}  // namespace kerf
