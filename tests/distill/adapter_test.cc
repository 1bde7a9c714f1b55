// Adapters in training: gradients, where they begin, and what they win.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "core/scratch.h"
#include "distill/adapted_matrix.h"
#include "distill/adapter_start.h"
#include "distill/training.h"
#include "model/arch/family.h"
#include "model/run/weights.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

std::vector<float> numbers(size_t n, uint64_t seed) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(static_cast<double>(test::splitmix64(seed * 100003 + i) % 20001) / 10000.0 - 1);
  return x;
}

constexpr int64_t kOut = 6, kIn = 10, kRank = 3;

AdaptedMatrix adapted() {
  AdaptedMatrix m(numbers(kOut * kIn, 1), kOut, kIn, kRank);
  m.start({kOut, kIn, kRank, numbers(kOut * kRank, 2), numbers(kRank * kIn, 3)});
  return m;
}

TEST(AdaptedMatrix, IsItsMatrixAndTheProductAsItIsStored) {
  AdaptedMatrix m = adapted();
  const LowRank f = m.adapter();
  for (int64_t r = 0; r < kOut; ++r)
    for (int64_t c = 0; c < kIn; ++c) {
      double expected = static_cast<double>(m.base()[static_cast<size_t>(r * kIn + c)]);
      for (int64_t k = 0; k < kRank; ++k)
        expected += static_cast<double>(f.b[static_cast<size_t>(r * kRank + k)]) *
                    static_cast<double>(f.a[static_cast<size_t>(k * kIn + c)]);
      EXPECT_NEAR(m.values()[static_cast<size_t>(r * kIn + c)], expected, 1e-6);
    }
  for (const float v : f.b) EXPECT_EQ(v, round_to(kAdapterType, v));
  EXPECT_THROW(m.start({kOut, kIn, 1, numbers(kOut, 2), numbers(kIn, 3)}), Error);
}

TEST(AdaptedMatrix, GradientsAreSlopes) {
  const std::vector<float> d = numbers(kOut * kIn, 4);  // the loss is the sum of d * values
  AdaptedMatrix m = adapted();
  m.add_gradient(d);
  m.add_gradient(d);  // they add up
  const auto loss = [&] {
    double sum = 0;
    const std::vector<float> values = m.values();
    for (size_t i = 0; i < d.size(); ++i) sum += static_cast<double>(d[i]) * static_cast<double>(values[i]);
    return sum;
  };
  for (Parameter& p : m.parameters())
    for (size_t i = 0; i < p.values.size(); ++i) {
      const float was = p.values[i], step = 0.25F;  // the product is linear in each, and F16 has these numbers nearly
      p.values[i] = was + step;
      m.settle();
      const double above = loss();
      p.values[i] = was - step;
      m.settle();
      const double slope = (above - loss()) / (2 * static_cast<double>(step));
      p.values[i] = was;
      m.settle();
      EXPECT_NEAR(p.gradient[i], 2 * slope, 0.01);
    }
}

Architecture architecture() {
  const auto all = nlohmann::json::parse(std::ifstream(test::source_dir() / "tests/distill/goldens/gradients.json"));
  return describe_architecture(all["qwen3"]["config"]);
}

// Block matrices rounded to sixteenths of their largest weight.
Student rounded_student(const Architecture& a, const test::RandomCheckpoint& source, int64_t rank) {
  return {a, [&, rank](const std::string& name, Student::Role role) -> std::unique_ptr<TrainedTensor> {
            const TensorInfo& info = *source.find(name);
            std::vector<float> w = read_vector(source, name);
            if (role != Student::Role::matrix) return std::make_unique<PlainTensor>(std::move(w), info.cols(), false);
            float largest = 0;
            for (const float v : w) largest = std::max(largest, std::abs(v));
            for (float& v : w) v = std::round(v / largest * 4) * largest / 4;
            return std::make_unique<AdaptedMatrix>(std::move(w), info.rows(), info.cols(), rank);
          }};
}

std::vector<float> all_of(Student& student) {
  std::vector<float> all;
  for (const Parameter& p : student.parameters()) all.insert(all.end(), p.values.begin(), p.values.end());
  return all;
}

TEST(AdapterStart, GivesBackAndTrainingGivesBackMore) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(24, 32, a.vocab());
  TrainingWindows s{.all = w, .training = {}, .held_out = {}};
  for (int64_t i = 0; i < w.count; ++i) (i < 20 ? s.training : s.held_out).push_back(i);
  const auto wanted = [&](const std::string& name) { return read_vector(source, name); };
  const int before = threads();
  std::vector<float> first;
  for (const int n : {1, 3}) {
    set_threads(n);
    Scratch scratch;
    Teacher teacher(a, source, w, scratch);
    Student student = rounded_student(a, source, 8);
    const double without = held_out_kl(student, teacher, w, s.held_out).kl;
    int64_t blocks = 0;
    start_adapters(student, wanted, picked_windows(w, s.training), scratch, [&] { ++blocks; });
    EXPECT_EQ(blocks, a.layers());
    const TrainingCurve curve = train(student, teacher, s, {.steps = 20, .batch = 4, .rate = 1e-2, .checks = 4});
    EXPECT_LT(curve.before.kl, 0.8 * without);
    EXPECT_LT(curve.after.kl, 0.98 * curve.before.kl);
    if (n == 1) first = all_of(student);
    EXPECT_EQ(all_of(student), first);  // whatever the number of threads
  }
  set_threads(before);
}

TEST(AdapterStart, WithoutAnOriginalChangesNothingAtFirst) {
  const Architecture a = architecture();
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(8, 32, a.vocab());
  Scratch scratch;
  Student student = rounded_student(a, source, 4), as_it_came = rounded_student(a, source, 4);
  start_adapters(
      student, [](const std::string&) { return std::vector<float>(); }, w, scratch);
  for (const auto& [name, tensor] : student.tensors())
    EXPECT_EQ(tensor->values(), as_it_came.tensors().at(name)->values());
  float largest = 0;
  for (const float v : all_of(student)) largest = std::max(largest, std::abs(v));
  EXPECT_GT(largest, 0);  // A, so that B has a gradient
}

}  // namespace
}  // namespace kerf
