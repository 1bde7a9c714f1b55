// How parameters are moved by their gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "distill/trained_tensor.h"

namespace kerf {

/// Adam with bias correction (Kingma, Ba: arXiv 1412.6980):
///   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
///   x -= rate unit m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + tiny)
/// and for codes x -= rate of codes x sign(g). Gradients longer than `clip` together, in units, are shortened to that.
struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.99;
  double clip = 1;
};

class Optimizer {
 public:
  /// The parameters must stay where they are.
  explicit Optimizer(std::vector<Parameter>, OptimizerOptions = {});

  /// Moves all of them once and clears the gradients. Returns the length of the gradient, codes' left out. Results do
  /// not depend on the number of threads.
  double step(double rate, double rate_of_codes);

  /// What a run is gone on with: parameters, moments, how many steps were made.
  struct State {
    std::vector<float> values, first, second;
    int64_t steps = 0;
  };
  State state() const;
  void restore(const State&);
  /// The parameters alone, in one array.
  std::vector<float> values() const;
  void set_values(const std::vector<float>&);

 private:
  std::vector<Parameter> parameters_;
  const OptimizerOptions options_;
  std::vector<std::vector<float>> first_, second_;  // moments; empty of codes
  int64_t steps_ = 0;
};

/// Of `step` in 0 ... steps - 1: rises evenly over the first `warmup` share of them, then falls as a cosine to a
/// twentieth.
double scheduled(double rate, int64_t step, int64_t steps, double warmup = 0.1);

}  // namespace kerf
