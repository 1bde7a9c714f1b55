#include "distill/training.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "distill/gradient_pass.h"
#include "model/run/evaluate.h"
#include "model/run/fast_linear.h"

namespace kerf {
namespace {

constexpr double kDiverged = 10;  // times the first loss

}  // namespace

std::vector<int64_t> batch_of(const TrainingWindows& w, const TrainingOptions& o, int64_t step) {
  const int64_t n = std::ssize(w.training);
  std::vector<int64_t> batch, order(static_cast<size_t>(n));
  int64_t ordered = -1;
  for (int64_t i = step * o.batch; i < (step + 1) * o.batch; ++i) {
    const int64_t pass = i / n;
    if (pass != ordered) {
      std::iota(order.begin(), order.end(), 0);
      const auto key = [&](int64_t x) { return random_bits(o.seed, pass, x); };
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
      ordered = pass;
    }
    batch.push_back(w.training[static_cast<size_t>(order[static_cast<size_t>(i % n)])]);
  }
  return batch;
}

double rate_of_codes(const TrainingOptions& o, int64_t step) {
  double sum = 0;
  for (int64_t i = 0; i < o.steps; ++i) sum += scheduled(1, i, o.steps);
  return o.code_travel / sum * scheduled(1, step, o.steps);
}

HeldOut held_out_kl(Student& student, Teacher& teacher, const Windows& all, std::span<const int64_t> which) {
  std::vector<double> each;
  for (const int64_t w : which) {
    Divergence loss = teacher.divergence({w});
    each.push_back(mean_loss(student, picked_windows(all, {&w, 1}), loss, fast_arithmetic()));
  }
  const Estimate e = estimate(each, std::ssize(each));
  return {e.mean, e.error};
}

TrainingCurve train(Student& student, Teacher& teacher, const TrainingWindows& windows, const TrainingOptions& o,
                    const AfterStep& after_step, const std::optional<TrainingState>& from) {
  Optimizer optimizer(student.parameters());
  TrainingState s;
  const auto measure = [&] { return held_out_kl(student, teacher, windows.all, windows.held_out); };
  if (from) {
    s = *from;
    optimizer.restore(s.optimizer);
    student.settle();
  } else {
    s.curve.before = s.curve.after = measure();
    s.best = optimizer.values();
  }
  const auto is_check = [&](int64_t step) {
    return step == o.steps || step * o.checks / o.steps != (step - 1) * o.checks / o.steps;
  };
  using End = TrainingCurve::End;
  for (int64_t step = from ? s.optimizer.steps : 0; step < o.steps;) {
    const std::vector<int64_t> batch = batch_of(windows, o, step);
    Divergence loss = teacher.divergence(batch);
    const double value = add_gradients(student, picked_windows(windows.all, batch), loss, fast_arithmetic());
    if (!std::isfinite(value) || value > kDiverged * std::max(s.curve.before.kl, 1e-4)) {
      s.curve.end = End::diverged;
      break;
    }
    optimizer.step(scheduled(o.rate, step, o.steps), rate_of_codes(o, step));
    student.settle();
    ++step;
    s.loss_since_check += value;
    ++s.losses_since_check;
    if (is_check(step)) {
      const HeldOut now = measure();
      s.curve.checks.push_back({step, s.loss_since_check / static_cast<double>(s.losses_since_check), now});
      s.loss_since_check = 0;
      s.losses_since_check = 0;
      if (now.kl < s.curve.after.kl) {
        s.curve.after = now;
        s.curve.best_step = step;
        s.best = optimizer.values();
        s.bad_checks = 0;
      } else if (++s.bad_checks >= o.patience) {
        s.curve.end = End::no_longer_falls;
      }
    }
    if (after_step)
      after_step(step, s.curve, [&] {
        TrainingState copy = s;
        copy.optimizer = optimizer.state();
        return copy;
      });
    if (s.curve.end != End::all_steps) break;
  }
  optimizer.set_values(s.best);
  student.settle();
  return s.curve;
}

}  // namespace kerf
