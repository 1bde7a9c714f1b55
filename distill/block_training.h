// Each block of a student learns to put out what the original's block puts out: AutoRound (arXiv 2309.05516) and
// BRECQ (arXiv 2102.05426) on any grid.
#pragma once

#include <functional>
#include <vector>

#include "core/scratch.h"
#include "distill/training.h"

namespace kerf {

/// The error of a block on the held-out windows: sum |y - y0|^2 / sum |y0 - x0|^2, y its output on the student's own
/// stream, x0 and y0 the teacher's stream before and after it.
struct BlockOutcome {
  int64_t layer = 0;
  double before = 0, after = 0;
  bool kept = false;  // whether training made it smaller; otherwise the block is as it came
};

/// The original, and the windows in its ids.
struct BlockTeacher {
  const Architecture& architecture;
  const TensorSource& source;
  Windows windows;
};

/// Trains block after block by the squared error of its output on `options.steps` batches, with the stream that the
/// student's finished blocks give. Teacher and student have the same layers and hidden size. Memory:
/// three hidden states per token, from `scratch`. Results do not depend on the number of threads.
std::vector<BlockOutcome> train_blocks(Student&, const BlockTeacher&, const TrainingWindows&, const TrainingOptions&,
                                       Scratch&, const std::function<void(const BlockOutcome&)>& after_block = {});

}  // namespace kerf
