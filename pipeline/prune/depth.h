// Which blocks of a model go: ranked by how little they change their input (ShortGPT, Men et al., 2024; runs of
// neighbours: Gromov et al., 2024), and the best by the loss that their removal causes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/scratch.h"
#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

struct DepthCandidate {
  std::vector<int64_t> removed;  // layers, rising
  double similarity = 0;         // mean cosine between what enters and what leaves, summed over runs of neighbours
  double kl = 0;                 // mean KL(model || model without them) over the windows; after rescoring
};

struct DepthChoice {
  std::vector<int64_t> kept;
  std::vector<DepthCandidate> candidates;  // that were rescored, best first
  std::vector<double> similarity;          // of each block alone
};

/// What a search and one DepthSearch::choose() take: passes over all blocks, put together from parts of them, and over
/// the head. Which blocks will be tried is not known where there are many: they count as spread evenly.
struct DepthWork {
  double passes = 0, heads = 0;
};
DepthWork depth_work(int64_t layers, int64_t count);

/// Of one model and some windows, which should be few: about 2,000 tokens. Keeps what it has measured. For one thread.
class DepthSearch {
 public:
  /// Runs the model once, in float32. Everything must outlive the search. Memory: the hidden states after every block,
  /// from `scratch`.
  DepthSearch(const Architecture&, const TensorSource&, const Windows&, Scratch&);
  ~DepthSearch();

  /// Removes `count` blocks. All sets are rescored when there are few; otherwise the best runs of neighbours by
  /// similarity, the set of the blocks that change least, and one that grows block by block by its KL. The costs are a
  /// pass for each candidate from the first block on that it lacks.
  DepthChoice choose(int64_t count);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kerf
