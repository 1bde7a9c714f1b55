// What rounding of the activations adds to the error of a matrix whose runtime multiplies 8-bit integers by 8-bit
// integers, and how it changes when input channels are scaled.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kerf {

/// Some tokens of a matrix's input, for the group of channels that share a scale when a token is rounded.
struct ActivationSample {
  std::vector<float> x;  // [rows, cols]
  int64_t rows = 0, cols = 0;
  int64_t group = 0;          // channels that share a scale, a divisor of cols; 0: all
  double tokens_per_row = 1;  // tokens that a row stands for

  /// Appends the rows of another sample of the same input; each row then stands for the mean of what both say. Error
  /// internal when channels or groups differ.
  void merge(const ActivationSample& next);

  /// The largest absolute value of each channel.
  std::vector<float> largest() const;
};

/// Rounding x_t / s to integers in -127 ... 127 moves channel c by an error of variance d^2 / 12, d = the largest
/// |x_t / s| of its group / 127, alike for all matrices and independent of the rest. Returns, per channel, the sum of
/// that over all tokens: the expected squared output error of weights q (which multiply x / s) is sum over c of
/// noise[c] |q[:, c]|^2. `s` is empty for no scales.
std::vector<double> rounding_noise(const ActivationSample&, std::span<const float> s);

/// That sum, for q [rows, noise.size()]; without noise (empty) 0.
double noise_error(std::span<const double> noise, std::span<const float> q);

}  // namespace kerf
