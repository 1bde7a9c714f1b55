// Losses over logits, with their gradients. A position is scored as in model/run/evaluate.h: when its next token lies
// in the same window.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/text/windows.h"

namespace kerf {

struct Loss {
  virtual ~Loss() = default;
  /// Of the logits [count, vocab] after tokens begin ... begin + count - 1 of the batch: they become the gradient of
  /// `weight` x (their summed loss). Returns the sum, unweighted. Tokens that end a window count for nothing. On kerf's
  /// threads.
  virtual double gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                          std::span<float> logits) = 0;
};

/// -log q(next token).
struct CrossEntropy final : Loss {
  double gradient(const Windows&, int64_t begin, int64_t count, double weight, std::span<float> logits) override;
};

/// KL(p || q) = sum of p log(p / q), p the teacher's distribution and q the student's; d / d logit = q - p.
class Divergence final : public Loss {
 public:
  /// teacher(begin, count, out) writes the teacher's logits after those tokens of the batch at hand, [count, vocab].
  using Teacher = std::function<void(int64_t begin, int64_t count, float* out)>;
  explicit Divergence(Teacher teacher) : teacher_(std::move(teacher)) {}
  double gradient(const Windows&, int64_t begin, int64_t count, double weight, std::span<float> logits) override;

 private:
  Teacher teacher_;
  std::vector<float> theirs_;
};

}  // namespace kerf
