// A model whose residual stream is turned by an orthogonal matrix, and which computes the same (SliceGPT, Ashkboos et
// al., 2024): norms over the whole stream do not see a rotation once their weights are folded into what reads them.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"

namespace kerf {

/// "" where the stream can be rotated: each of its readers is an RMS norm without bias that only matrices read, and
/// matrices alone are added to it. Otherwise the reason, for people: a norm between a matrix and the stream; norms that
/// subtract the mean.
std::string rotation_refused(const Architecture&);

/// Which channels a rotation may mix: all, but where the head is the embedding. Then the final norm's weights w cannot
/// be folded, and where they are alike, within a quarter of their median, QT diag(w) Q is almost its diagonal: all but
/// 2 to 5 of 100 channels of SmolLM2-135M, stories15M and tinytales, at a KL divergence of 0.023, 0.011 and 0.006.
std::vector<int64_t> channels_to_mix(const Architecture&, const TensorSource&);

/// Weights of the same architecture with x' = QT x for the stream x, Q [hidden, hidden] orthogonal, row-major:
/// embedding E Q, readers W diag(norm) Q with norms of ones, writers QT W (and QT b). Before a head that is the
/// embedding the norm becomes the diagonal of QT diag(norm) Q, and the model is the same but for that. An empty Q folds
/// the norms only. Products are float32. The source must outlive it. Thread-safe. Reading rows of a writer reads the
/// whole matrix.
class RotatedWeights final : public TensorSource {
 public:
  /// REQUIRES: rotation_refused() is "".
  RotatedWeights(const Architecture&, const TensorSource&, std::vector<float> q);

  std::span<const TensorInfo> tensors() const override { return source_.tensors(); }
  const TensorInfo* find(std::string_view name) const override { return source_.find(name); }
  void read(const TensorInfo&, int64_t row_begin, std::span<float> out) const override;

 private:
  struct Change {
    std::vector<float> becomes{};  // a norm's weights, stored
    bool columns = false;          // W diag(norm) Q
    bool rows = false;             // QT W
    std::vector<float> norm{};     // of `columns`; empty: of ones
  };

  const TensorSource& source_;
  const int64_t width_;
  const std::vector<float> q_, transposed_;  // empty: the identity
  std::unordered_map<std::string, Change> changes_;
};

}  // namespace kerf
