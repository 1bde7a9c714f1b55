// Matrices of the checkpoint as they are, and a run through them beside the one that is quantized.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/run/blockwise_forward.h"

namespace kerf {

/// w [site.out, site.in] row-major. Error numerical when a number is not finite.
std::vector<float> read_matrix(const TensorSource&, const Site&);

/// What a pass goes on with when a group's matrices are not replaced.
std::vector<BlockwiseForward::Replacement> passthrough(const BlockwiseForward::Group&, const TensorSource&);

/// The model in full precision, beside targets that are calibrated group by group.
class FullPrecisionRun {
 public:
  /// All of these must outlive the run.
  FullPrecisionRun(const Architecture&, const TensorSource&, const Windows&, Scratch&);

  /// Takes up a run that was left after `layer`.
  void restore(int64_t layer, std::span<const float> hidden) { stream_.restore(layer, hidden); }
  void begin(int64_t layer) { stream_.begin_groups(layer); }
  std::optional<BlockwiseForward::Group> next_group() { return stream_.next_group(); }
  void go_on(const BlockwiseForward::Group& g) { stream_.replace(passthrough(g, source_)); }
  /// After the last block: the final norm, and what enters the head then.
  BlockwiseForward::Group head_group() {
    stream_.finish();
    return stream_.head_group();
  }
  std::span<const float> hidden() const { return stream_.hidden(); }  // [tokens, hidden]

 private:
  const TensorSource& source_;
  std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward stream_;
};

}  // namespace kerf
