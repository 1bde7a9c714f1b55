// Gradients of whole models beside PyTorch's: goldens/gradients.json, made by make.py there.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "distill/gradient_pass.h"
#include "distill/student.h"
#include "model/arch/family.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

const nlohmann::json& goldens() {
  static const auto all =
      nlohmann::json::parse(std::ifstream(test::source_dir() / "tests/distill/goldens/gradients.json"));
  return all;
}

std::span<float> gradient_of(TrainedTensor& tensor) { return tensor.parameters().front().gradient; }

double norm_of(std::span<const float> v) {
  double squares = 0;
  for (const float x : v) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares);
}

class Gradient : public testing::TestWithParam<std::string> {};

TEST_P(Gradient, IsThatOfPyTorch) {
  const nlohmann::json& golden = goldens()[GetParam()];
  const Architecture a = describe_architecture(golden["config"]);
  const test::RandomCheckpoint checkpoint(a);
  Student model = dense_student(a, checkpoint, true);
  CrossEntropy loss;
  EXPECT_NEAR(add_gradients(model, test::random_windows(2, 96, a.vocab()), loss, {}), golden["loss"], 2e-5);
  EXPECT_EQ(model.tensors().size(), golden["weights"].size());
  for (const auto& [name, of] : golden["weights"].items()) {
    ASSERT_TRUE(model.tensors().contains(name)) << name;
    const std::span<float> g = gradient_of(*model.tensors().at(name));
    const double norm = of["norm"], each = norm / std::sqrt(static_cast<double>(g.size()));
    EXPECT_NEAR(norm_of(g), norm, 1e-4 * norm) << name;
    for (size_t i = 0; i < 7; ++i)
      EXPECT_NEAR(g[g.size() * i / 7], of["values"][i].get<double>(), 1e-3 * each) << name << " " << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Families, Gradient, testing::Values("mha", "all", "qwen2", "qwen3", "gemma3", "gemma3_cap"),
                         [](const auto& name) { return name.param; });

TEST(Gradient, OfADivergenceIsTheSlopeOfIt) {
  const Architecture a = describe_architecture(goldens()["qwen3"]["config"]);
  test::RandomCheckpoint checkpoint(a);
  const Windows batch = test::random_windows(2, 40, a.vocab());
  const std::vector<float> shift = [&] {
    std::vector<float> s(static_cast<size_t>(a.vocab()));
    for (size_t i = 0; i < s.size(); ++i) s[i] = static_cast<float>(test::splitmix64(i) % 100) / 50.0F;
    return s;
  }();
  std::vector<float> theirs;
  Divergence loss([&](int64_t, int64_t count) {
    theirs.clear();
    for (int64_t t = 0; t < count; ++t) theirs.insert(theirs.end(), shift.begin(), shift.end());
    return std::span<const float>(theirs);
  });
  Student model = dense_student(a, checkpoint, true);
  const double kl = add_gradients(model, batch, loss, {});
  EXPECT_GT(kl, 0);
  // A step against the gradient lowers it by about step x norm^2.
  double squares = 0;
  for (auto& [name, tensor] : model.tensors()) squares += std::pow(norm_of(gradient_of(*tensor)), 2);
  const double step = 1e-3 * kl / squares;
  for (const Parameter& p : model.parameters())
    for (size_t i = 0; i < p.values.size(); ++i) p.values[i] -= static_cast<float>(step) * p.gradient[i];
  const double lower = add_gradients(model, batch, loss, {});
  EXPECT_NEAR((kl - lower) / (step * squares), 1, 0.05);
}

TEST(Gradient, IsThatOfTheTokensToBeLearned) {
  const Architecture a = describe_architecture(goldens()["qwen3"]["config"]);
  const test::RandomCheckpoint checkpoint(a);
  Windows batch = test::random_windows(2, 12, a.vocab());
  CrossEntropy loss;
  const auto only = [&](std::vector<size_t> tokens) {
    batch.answers.assign(batch.ids.size(), 0);
    for (const size_t t : tokens) batch.answers[t] = 1;
    Student model = dense_student(a, checkpoint, true);
    return add_gradients(model, batch, loss, {});
  };
  const double third = only({3}), twentieth = only({20});
  EXPECT_NE(third, twentieth);
  EXPECT_NEAR(only({3, 20}), (third + twentieth) / 2, 1e-6);
  EXPECT_NEAR(only({0, 3, 12, 20}), (third + twentieth) / 2, 1e-6);  // nothing predicts a window's first
  EXPECT_EQ(only({}), 0);
}

TEST(Gradient, OfItselfIsNothing) {
  const Architecture a = describe_architecture(goldens()["mha"]["config"]);
  const test::RandomCheckpoint checkpoint(a);
  const Windows batch = test::random_windows(1, 24, a.vocab());
  Student model = dense_student(a, checkpoint, true);
  std::vector<float> own;  // logits of the first pass
  struct Keep final : Loss {
    std::vector<float>& to;
    explicit Keep(std::vector<float>& v) : to(v) {}
    double gradient(const Windows&, int64_t, int64_t, double, std::span<const float> logits,
                    std::span<float>) override {
      to.insert(to.end(), logits.begin(), logits.end());
      return 0;
    }
  } keep(own);
  add_gradients(model, batch, keep, {});
  for (const Parameter& p : model.parameters()) std::fill(p.gradient.begin(), p.gradient.end(), 0.0F);
  Divergence loss([&](int64_t begin, int64_t count) {
    return std::span<const float>(own).subspan(static_cast<size_t>(begin * a.vocab()),
                                               static_cast<size_t>(count * a.vocab()));
  });
  EXPECT_NEAR(add_gradients(model, batch, loss, {}), 0, 1e-6);
  for (const auto& [name, tensor] : model.tensors()) EXPECT_LT(norm_of(gradient_of(*tensor)), 1e-5) << name;
}

TEST(Gradient, IsTheSameForEveryNumberOfThreadsAndNearlyTheSameInFastArithmetic) {
  const Architecture a = describe_architecture(goldens()["gemma3"]["config"]);
  const test::RandomCheckpoint checkpoint(a);
  const Windows batch = test::random_windows(3, 64, a.vocab());
  const int before = threads();
  const auto gradients = [&](bool exact, int n) {
    set_threads(n);
    Student model = dense_student(a, checkpoint, exact);
    CrossEntropy loss;
    add_gradients(model, batch, loss, {});
    std::map<std::string, std::vector<float>> all;
    for (const auto& [name, tensor] : model.tensors()) {
      const std::span<float> g = gradient_of(*tensor);
      all[name].assign(g.begin(), g.end());
    }
    return all;
  };
  const auto exact = gradients(true, 1), fast = gradients(false, 2);
  EXPECT_EQ(exact, gradients(true, 3));
  EXPECT_EQ(fast, gradients(false, 1));
  set_threads(before);
  for (const auto& [name, g] : exact) {
    double dot = 0;
    for (size_t i = 0; i < g.size(); ++i) dot += static_cast<double>(g[i]) * static_cast<double>(fast.at(name)[i]);
    EXPECT_GT(dot / (norm_of(g) * norm_of(fast.at(name))), 0.98) << name;
  }
}

}  // namespace
}  // namespace kerf
