// Losses over logits, with their gradients. A position is scored when its next token lies in the same
// window and is to be learned (Windows::learns_after).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/text/windows.h"

namespace kerf {

struct Loss {
  virtual ~Loss() = default;
  /// Of the logits [count, vocab] after tokens begin ... begin + count - 1 of the batch: `d` becomes the gradient of
  /// `weight` x (their summed loss). Returns the sum, unweighted. Tokens that are not scored count for nothing. On
  /// kerf's threads.
  virtual double gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                          std::span<const float> logits, std::span<float> d) = 0;
};

/// -log q(next token).
struct CrossEntropy final : Loss {
  double gradient(const Windows&, int64_t begin, int64_t count, double weight, std::span<const float> logits,
                  std::span<float> d) override;
};

/// KL(p || q) = sum of p log(p / q), p the teacher's distribution and q the student's; d / d logit = q - p.
class Divergence final : public Loss {
 public:
  /// teacher(begin, count): the teacher's logits after those tokens of the batch at hand, [count, vocab], valid until
  /// the next call.
  using Teacher = std::function<std::span<const float>(int64_t begin, int64_t count)>;
  explicit Divergence(Teacher teacher) : teacher_(std::move(teacher)) {}
  double gradient(const Windows&, int64_t begin, int64_t count, double weight, std::span<const float> logits,
                  std::span<float> d) override;

 private:
  Teacher teacher_;
};

}  // namespace kerf
