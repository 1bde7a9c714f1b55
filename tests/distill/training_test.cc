// Optimizer, teacher, training end to end and block by block, and text that a model writes itself.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/parallel.h"
#include "core/scratch.h"
#include "distill/block_training.h"
#include "distill/gradient_pass.h"
#include "distill/own_text.h"
#include "distill/phase.h"
#include "distill/trained_matrix.h"
#include "distill/training.h"
#include "model/arch/family.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

Architecture architecture(const char* name = "mha") {
  const auto all = nlohmann::json::parse(std::ifstream(test::source_dir() / "tests/distill/goldens/gradients.json"));
  return describe_architecture(all[name]["config"]);
}

// Block matrices in 4 bits, nearest codes; all else in plain numbers, vectors trained.
Student rounded_student(const Architecture& a, const test::RandomCheckpoint& source, bool codes) {
  return {a, [&](const std::string& name, Student::Role role) -> std::unique_ptr<TrainedTensor> {
            const TensorInfo& info = *source.find(name);
            std::vector<float> w = read_vector(source, name);
            if (role != Student::Role::matrix)
              return std::make_unique<PlainTensor>(w, info.cols(), role == Student::Role::vector);
            QuantizedMatrix q = allocate(symmetric_int(4, 32, Dtype::f16), info.rows(), info.cols());
            find_grid("int").fit_and_encode(w, {}, q);
            return std::make_unique<TrainedMatrix>(q, TrainedMatrix::Trains{.codes = codes, .most_at_first = 0.49F}, w);
          }};
}

TrainingWindows split(const Windows& w, int64_t training) {
  TrainingWindows s{.all = w, .training = {}, .held_out = {}};
  for (int64_t i = 0; i < w.count; ++i) (i < training ? s.training : s.held_out).push_back(i);
  return s;
}

TEST(Optimizer, TakesTheStepsOfAdamAndClearsTheGradient) {
  std::vector<float> x = {1, 2}, g = {0.5F, 0};
  Optimizer optimizer({{.values = x, .gradient = g, .unit = 2}}, {.beta1 = 0.9, .beta2 = 0.99, .clip = 1e9});
  EXPECT_NEAR(optimizer.step(0.01, 0), 0.5 * 2, 1e-6);  // the length of the gradient, in units
  EXPECT_NEAR(x[0], 1 - 0.01 * 2, 1e-6);                // the first step is the sign
  EXPECT_EQ(x[1], 2);
  EXPECT_EQ(g[0], 0);
  g[0] = -0.25F;
  optimizer.step(0.01, 0);
  const double m = 0.9 * 0.05 - 0.1 * 0.25, v = 0.99 * 0.0025 + 0.01 * 0.0625;
  EXPECT_NEAR(x[0], 0.98 - 0.02 * (m / 0.19) / std::sqrt(v / 0.0199), 1e-5);
}

TEST(Optimizer, MovesCodesByTheSignAtARateOfTheirOwn) {
  std::vector<float> x = {0, 0, 0}, g = {3, -1e-6F, 0};
  Optimizer optimizer({{.values = x, .gradient = g, .code = true}});
  EXPECT_EQ(optimizer.step(1, 0.25), 0);
  EXPECT_EQ(x, (std::vector<float>{-0.25F, 0.25F, 0}));
}

TEST(Optimizer, GoesOnFromASavedStateAsIfItHadNotStopped) {
  std::vector<float> x = {1, -1}, g(2), y = x, h(2);
  Optimizer whole({{.values = x, .gradient = g}}), first({{.values = y, .gradient = h}});
  const auto gradient = [](int i, std::vector<float>& to) {  // in place: the optimizer looks there
    to[0] = static_cast<float>(std::sin(i));
    to[1] = 0.1F;
  };
  for (int i = 0; i < 6; ++i) {
    gradient(i, g);
    whole.step(0.01, 0);
  }
  for (int i = 0; i < 3; ++i) {
    gradient(i, h);
    first.step(0.01, 0);
  }
  std::vector<float> z = {9, 9}, k(2);
  Optimizer second({{.values = z, .gradient = k}});
  second.restore(first.state());
  for (int i = 3; i < 6; ++i) {
    gradient(i, k);
    second.step(0.01, 0);
  }
  EXPECT_EQ(x, z);
}

TEST(Schedule, RisesThenFallsToATwentieth) {
  EXPECT_NEAR(scheduled(1, 0, 100), 0.1, 1e-12);
  EXPECT_NEAR(scheduled(1, 10, 100), 1, 1e-12);
  EXPECT_LT(scheduled(1, 99, 100), 0.06);
  double travelled = 0;
  const TrainingOptions o{.steps = 40, .code_travel = 0.6};
  for (int64_t i = 0; i < o.steps; ++i) travelled += rate_of_codes(o, i);
  EXPECT_NEAR(travelled, 0.6, 1e-12);
}

TEST(Training, BatchesTakeEveryWindowOncePerPassInAnOrderOfItsOwn) {
  const Windows w = test::random_windows(12, 8, 50);
  const TrainingWindows s = split(w, 12);
  const TrainingOptions o{.batch = 4, .seed = 7};
  std::vector<int64_t> passes[2];
  for (int64_t step = 0; step < 6; ++step)
    for (const int64_t i : batch_of(s, o, step)) passes[step / 3].push_back(i);
  for (const auto& pass : passes) EXPECT_EQ(std::set<int64_t>(pass.begin(), pass.end()).size(), 12U);
  EXPECT_NE(passes[0], passes[1]);
}

TEST(Training, LowersTheHeldOutKlAndLeavesTheBest) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(24, 32, a.vocab());
  const int before = threads();
  std::vector<float> first;
  for (const int n : {1, 3}) {
    set_threads(n);
    Scratch scratch;
    Teacher teacher(a, source, w, scratch);
    Student student = rounded_student(a, source, false);
    const TrainingWindows s = split(w, 20);
    const TrainingCurve curve = train(student, teacher, s, {.steps = 20, .batch = 4, .rate = 2e-3, .checks = 4});
    EXPECT_EQ(curve.checks.size(), 4U);
    EXPECT_LT(curve.after.kl, 0.97 * curve.before.kl);
    EXPECT_GT(curve.best_step, 0);
    EXPECT_EQ(held_out_kl(student, teacher, w, s.held_out).kl, curve.after.kl);
    std::vector<float> all;
    for (const Parameter& p : student.parameters()) all.insert(all.end(), p.values.begin(), p.values.end());
    if (n == 1) first = all;
    EXPECT_EQ(all, first);  // whatever the number of threads
  }
  set_threads(before);
}

TEST(Training, GoesOnFromAnyStepToTheSameEnd) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(12, 24, a.vocab());
  const TrainingWindows s = split(w, 10);
  Scratch scratch;
  Teacher teacher(a, source, w, scratch);
  const TrainingOptions o{.steps = 9, .batch = 4, .rate = 2e-3, .checks = 3};
  std::vector<TrainingState> states;
  const auto end_of = [&](const std::optional<TrainingState>& from, bool keep) {
    Student student = rounded_student(a, source, true);
    train(
        student, teacher, s, o,
        [&](int64_t, const TrainingCurve&, const std::function<TrainingState()>& state) {
          if (keep) states.push_back(state());
        },
        from);
    std::map<std::string, std::vector<float>> values;
    for (const auto& [name, tensor] : student.tensors()) values[name] = tensor->values();
    return values;
  };
  const auto whole = end_of(std::nullopt, true);
  ASSERT_EQ(states.size(), 9U);
  for (const size_t i : {0U, 4U, 7U}) EXPECT_EQ(end_of(states[i], false), whole) << i;
}

TEST(Training, ALossThatRisesWithoutEndIsNoticedAndTheStudentIsAsItCame) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(12, 24, a.vocab());
  Scratch scratch;
  Teacher teacher(a, source, w, scratch);
  Student student = rounded_student(a, source, false);
  const std::vector<float> as_it_came = student.tensors().begin()->second->values();
  const TrainingCurve curve =
      train(student, teacher, split(w, 10), {.steps = 50, .batch = 4, .rate = 0.9, .checks = 2, .patience = 9});
  EXPECT_EQ(curve.end, TrainingCurve::End::diverged);
  EXPECT_EQ(curve.best_step, 0);
  EXPECT_EQ(student.tensors().begin()->second->values(), as_it_came);
}

TEST(BlockTraining, LowersTheErrorOfBlocksOrLeavesThem) {
  const Architecture a = architecture("qwen3");
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(24, 32, a.vocab());
  Scratch scratch;
  Student student = rounded_student(a, source, true);
  const auto outcomes =
      train_blocks(student, {a, source, w}, split(w, 20), {.steps = 40, .batch = 8, .code_travel = 0.3}, scratch);
  ASSERT_EQ(std::ssize(outcomes), a.layers());
  int kept = 0;
  for (const BlockOutcome& b : outcomes) {
    EXPECT_TRUE(b.kept ? b.after < b.before : b.after >= b.before);
    kept += b.kept;
  }
  EXPECT_GT(kept, 0);
}

TEST(OwnText, FollowsFromItsSeedAndNothingElse) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const OwnText o{.windows = 5, .length = 20, .seed = 3, .bos = 1, .ends = {2}};
  const int before = threads();
  set_threads(1);
  const Windows one = write_own_text(a, source, o);
  set_threads(3);
  const Windows three = write_own_text(a, source, o);
  set_threads(before);
  EXPECT_EQ(one.ids, three.ids);
  EXPECT_EQ(one.count, 5);
  for (int64_t i = 0; i < one.count; ++i) {
    EXPECT_EQ(one.window(i)[0], 1);
    for (size_t t = 1; t < 20; ++t) EXPECT_NE(one.window(i)[t], 2);
  }
  OwnText other = o;
  other.seed = 4;
  EXPECT_NE(write_own_text(a, source, other).ids, one.ids);
}

TEST(OwnText, IsWrittenWhereBosAndEndAreOneToken) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = write_own_text(a, source, {.windows = 4, .length = 16, .seed = 1, .bos = 2, .ends = {2}});
  EXPECT_EQ(w.count, 4);
  for (int64_t i = 0; i < w.count; ++i)
    for (size_t t = 1; t < 16; ++t) EXPECT_NE(w.window(i)[t], 2);
}

// The colder, the more probable are the tokens by the model's own account.
TEST(OwnText, IsDrawnFromTheModelAtItsTemperature) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const auto mean_nll = [&](double temperature) {
    const Windows w =
        write_own_text(a, source, {.windows = 40, .length = 24, .temperature = temperature, .seed = 1, .bos = 1});
    Student model = dense_student(a, source, true);
    CrossEntropy loss;
    return mean_loss(model, w, loss, {});
  };
  const double cold = mean_nll(0.1), warm = mean_nll(1), hot = mean_nll(10);
  EXPECT_LT(cold, 0.95 * warm);
  EXPECT_GT(hot, 1.02 * warm);
}

TEST(Phases, AreKnownByNameAndNamedOnce) {
  const std::vector<std::string> two = {"blocks", "scales"};
  EXPECT_EQ(parse_distill(two), (std::vector{DistillPhase::blocks, DistillPhase::scales}));
  const std::vector<std::string> unknown = {"everything"}, twice = {"scales", "scales"}, behind = {"lora", "scales"};
  EXPECT_THROW(parse_distill(unknown), Error);
  EXPECT_THROW(parse_distill(twice), Error);
  EXPECT_THROW(parse_distill(behind), Error);
}

}  // namespace
}  // namespace kerf
