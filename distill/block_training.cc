#include "distill/block_training.h"

#include <algorithm>
#include <cmath>

#include "distill/stream.h"
#include "model/run/fast_linear.h"

namespace kerf {
namespace {

// sum += |x - y|^2
void add_squares(std::span<const float> x, std::span<const float> y, double& sum) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += d * d;
  }
}

}  // namespace

std::vector<BlockOutcome> train_blocks(Student& student, const BlockTeacher& teacher, const TrainingWindows& windows,
                                       const TrainingOptions& o, Scratch& scratch,
                                       const std::function<void(const BlockOutcome&)>& after_block) {
  const Architecture& a = student.architecture();
  const Windows& all = windows.all;
  const Arithmetic arithmetic = fast_arithmetic();
  Stream ours(all, a.hidden(), scratch), theirs(all, a.hidden(), scratch), target(all, a.hidden(), scratch);
  const Architecture& of_teacher = teacher.architecture;
  const std::unique_ptr<WeightProvider> original = dense_weights(of_teacher, teacher.source);
  ours.enter(all, a, [&](std::span<const int32_t> ids, float* out) { student.embed(ids, out); });
  theirs.enter(teacher.windows, of_teacher,
               [&](std::span<const int32_t> ids, float* out) { original->embed(ids, out); });
  std::vector<BlockOutcome> outcomes;
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    std::copy_n(theirs.window(0), all.count * theirs.per_window(), target.window(0));
    {
      const BlockWeights weights = load_block(of_teacher, *original, layer);
      target.for_parts(all.count, [&](int64_t n, float* x) {
        block_forward(of_teacher, layer, weights, Arithmetic{}, n, all.length, x);
      });
    }
    double signal_of_training = 0;
    for (const int64_t w : windows.training) add_squares(theirs.states(w), target.states(w), signal_of_training);
    const double scale = 1 / std::max(1e-30, signal_of_training) *
                         static_cast<double>(std::ssize(windows.training));  // of a window's squared error
    const auto held_out_error = [&] {
      const BlockWeights weights = student.weights(layer);
      double error = 0, signal = 0;
      for (const int64_t w : windows.held_out) {
        std::vector<float> y = ours.gather({&w, 1});
        block_forward(a, layer, weights, arithmetic, 1, all.length, y.data());
        add_squares(y, target.states(w), error);
        add_squares(theirs.states(w), target.states(w), signal);
      }
      return signal > 0 ? error / signal : 0;
    };
    BlockOutcome outcome{.layer = layer, .before = held_out_error()};
    Optimizer optimizer(student.parameters(layer));
    const std::vector<float> as_it_came = optimizer.values();
    Tape tape(a, a.block(layer), arithmetic, all.length);
    for (int64_t step = 0; step < o.steps; ++step) {
      const std::vector<int64_t> batch = batch_of(windows, o, step);
      const std::vector<float> x = ours.gather(batch), wanted = target.gather(batch);
      const BlockWeights weights = student.weights(layer);
      WeightGradients gradients = student.wanted(layer);
      const std::span<const float> y = tape.forward(weights, std::ssize(batch), x);
      std::vector<float> d(y.size());
      const auto factor = static_cast<float>(2 * scale / static_cast<double>(std::ssize(batch)));
      for (size_t i = 0; i < d.size(); ++i) d[i] = factor * (y[i] - wanted[i]);
      tape.backward(d, gradients);
      student.take(layer, std::move(gradients));
      optimizer.step(scheduled(o.rate, step, o.steps), rate_of_codes(o, step));
      student.settle(layer);
    }
    outcome.after = held_out_error();
    outcome.kept = outcome.after < outcome.before;
    if (!outcome.kept) {
      optimizer.set_values(as_it_came);
      student.settle(layer);
    }
    const BlockWeights weights = student.weights(layer);
    ours.for_parts(all.count,
                   [&](int64_t n, float* x) { block_forward(a, layer, weights, arithmetic, n, all.length, x); });
    std::copy_n(target.window(0), all.count * target.per_window(), theirs.window(0));
    if (after_block) after_block(outcome);
    outcomes.push_back(outcome);
  }
  return outcomes;
}

}  // namespace kerf
