// A student learns to predict what its teacher predicts: the loss is KL(teacher || student) over the logits, end to
// end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "distill/optimizer.h"
#include "distill/student.h"
#include "distill/teacher.h"

namespace kerf {

struct TrainingOptions {
  int64_t steps = 0;
  int64_t batch = 8;   // windows of a step
  double rate = 5e-4;  // of scales, norms and plain weights, in units of their size
  /// How far a code whose gradient never changes its sign goes in all, in steps of the grid: half a step takes it to
  /// the border of its cell, and by chance it goes about the square root of `steps` less far.
  double code_travel = 0.6;
  int64_t checks = 10;   // how often the held-out windows are measured, at even distances, the last step included
  int64_t patience = 5;  // checks without a new lowest before it stops
  uint64_t seed = 0;
};

/// A mean over windows, and its standard error.
struct HeldOut {
  double kl = 0, error = 0;
};

/// One row of the loss curve: after `step` steps the mean training loss since the row before, and the held-out KL.
struct TrainingCheck {
  int64_t step = 0;
  double loss = 0;
  HeldOut held_out;
};

struct TrainingCurve {
  HeldOut before, after;  // of the held-out windows: as the student came, and as it is left
  std::vector<TrainingCheck> checks;
  int64_t best_step = 0;  // 0: nothing was better than what came
  enum class End { all_steps, no_longer_falls, diverged } end = End::all_steps;
};

/// Which windows are trained on, and which are held out of it: numbers of the teacher's.
struct TrainingWindows {
  const Windows& all;  // in the student's ids
  std::vector<int64_t> training, held_out;
};

/// What a training that was stopped is gone on with.
struct TrainingState {
  Optimizer::State optimizer;
  std::vector<float> best;  // the parameters of best_step
  TrainingCurve curve;
  double loss_since_check = 0;
  int64_t losses_since_check = 0, bad_checks = 0;
};

/// Called after each step, with the rows so far. state() copies what a stopped run goes on with.
using AfterStep = std::function<void(int64_t step, const TrainingCurve&, const std::function<TrainingState()>& state)>;

/// The windows of a step: each pass over the training windows has an order of its own, which the seed gives.
std::vector<int64_t> batch_of(const TrainingWindows&, const TrainingOptions&, int64_t step);

/// What the optimizer's second rate is at a step.
double rate_of_codes(const TrainingOptions&, int64_t step);

/// The mean KL of windows, the student's against the teacher's. Tokens of one window are not independent, so the
/// windows are the sample.
HeldOut held_out_kl(Student&, Teacher&, const Windows&, std::span<const int64_t> which);

/// Trains the parameters of the student, in batches drawn without repetition per pass over the training windows, and
/// leaves it at the best of its checks; where none is better than the start, as it came. A loss that is no number, or
/// above ten times the first one, ends it. Results do not depend on the number of threads. REQUIRES: both kinds of
/// windows.
TrainingCurve train(Student&, Teacher&, const TrainingWindows&, const TrainingOptions&, const AfterStep& = {},
                    const std::optional<TrainingState>& from = std::nullopt);

}  // namespace kerf
