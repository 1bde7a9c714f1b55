// The residual stream: rotations that change nothing, and channels that matter.
#include "pipeline/prune/width.h"

#include <gtest/gtest.h>

#include <Eigen/QR>
#include <nlohmann/json.hpp>
#include <random>

#include "model/run/evaluate.h"
#include "model/run/fast_linear.h"
#include "prune/rotation.h"
#include "tests/support/small_model.h"
#include "verify/artifact.h"

namespace kerf {
namespace {

// Of a family, with everything that it may have at random.
Artifact small_model(const test::TempDir& dir, const char* type, bool tied, float norm = 0) {
  test::write_small_model(
      dir / "m",
      [&](nlohmann::ordered_json& c) {
        c = {{"model_type", type},
             {"hidden_size", 48},
             {"intermediate_size", 64},
             {"num_hidden_layers", 2},
             {"num_attention_heads", 4},
             {"num_key_value_heads", 2},
             {"head_dim", 16},
             {"vocab_size", 4096},
             {"max_position_embeddings", 128},
             {"tie_word_embeddings", tied}};
      },
      Dtype::f32, [&](float x) { return norm != 0 && x > 0.6F && x < 1.5F ? norm : x; });
  return open_artifact(dir / "m");
}

Windows some_windows() {
  Windows w{.count = 3, .length = 40};
  for (int64_t i = 0; i < w.tokens(); ++i) w.ids.push_back(static_cast<int32_t>(i * 37 % 4096));
  return w;
}

std::vector<float> orthogonal(int64_t n) {
  std::mt19937 rng(3);
  std::normal_distribution<double> normal;
  Eigen::MatrixXd m(n, n);
  for (double& x : m.reshaped()) x = normal(rng);
  const Eigen::MatrixXd q = Eigen::HouseholderQR<Eigen::MatrixXd>(m).householderQ();
  std::vector<float> flat;
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < n; ++c) flat.push_back(static_cast<float>(q(r, c)));
  return flat;
}

double kl_between(const Architecture& a, const TensorSource& x, const TensorSource& y) {
  const Windows windows = some_windows();
  const auto wx = dense_weights(a, x), wy = dense_weights(a, y);
  BlockwiseForward sx(a, *wx, {}, windows), sy(a, *wy, {}, windows);
  sx.run();
  sy.run();
  const Logits lx(a, *wx, sx), ly(a, *wy, sy);
  const Logits* other = &ly;
  return compare(lx, {&other, 1}, windows)[0].kl_mean;
}

TEST(RotatedWeights, ComputeTheSame) {
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    const test::TempDir dir;
    const Artifact a = small_model(dir, type, false);
    ASSERT_EQ(rotation_refused(a.architecture), "") << type;
    const auto q = orthogonal(48);
    EXPECT_LT(kl_between(a.architecture, *a.weights, RotatedWeights(a.architecture, *a.weights, q)), 1e-9) << type;
    EXPECT_LT(kl_between(a.architecture, *a.weights, RotatedWeights(a.architecture, *a.weights, {})), 1e-9) << type;
    // Another rotation of the head than of the stream is no small thing.
    auto wrong = q;
    std::swap_ranges(wrong.begin(), wrong.begin() + 48, wrong.begin() + 48);
    struct Mixed final : TensorSource {
      Mixed(const TensorSource& a, const TensorSource& b) : one(a), two(b) {}
      std::span<const TensorInfo> tensors() const override { return one.tensors(); }
      const TensorInfo* find(std::string_view name) const override { return one.find(name); }
      void read(const TensorInfo& t, int64_t row, std::span<float> out) const override {
        (t.name == "lm_head.weight" ? two : one).read(t, row, out);
      }
      const TensorSource &one, &two;
    };
    const RotatedWeights right(a.architecture, *a.weights, q), other(a.architecture, *a.weights, wrong);
    EXPECT_GT(kl_between(a.architecture, *a.weights, Mixed(right, other)), 1e-3) << type;
  }
}

TEST(RotatedWeights, BeforeATiedHeadTheyAreTheSameWhereTheFinalNormIsEven) {
  const test::TempDir dir;
  const Artifact even = small_model(dir, "llama", true, 1.25F);
  EXPECT_EQ(channels_to_mix(even.architecture, *even.weights).size(), 48u);
  EXPECT_LT(
      kl_between(even.architecture, *even.weights, RotatedWeights(even.architecture, *even.weights, orthogonal(48))),
      1e-9);
}

TEST(RotatedWeights, AreRefusedWhereANormStandsBetween) {
  const test::TempDir dir;
  const Artifact a = small_model(dir, "gemma3_text", true);
  EXPECT_NE(rotation_refused(a.architecture).find("stands between a matrix and the residual stream"),
            std::string::npos);
}

TEST(Width, ChannelsThatNothingReadsGoFirst) {
  const test::TempDir dir;
  const Artifact a = small_model(dir, "llama", false);
  // Zero in every norm: no matrix sees channels 5, 6 and 40.
  struct Hidden final : TensorSource {
    explicit Hidden(const TensorSource& s) : source(s) {}
    std::span<const TensorInfo> tensors() const override { return source.tensors(); }
    const TensorInfo* find(std::string_view name) const override { return source.find(name); }
    void read(const TensorInfo& t, int64_t row, std::span<float> out) const override {
      source.read(t, row, out);
      if (t.shape.size() == 1)
        for (const size_t c : {5, 6, 40}) out[c] = 0;
    }
    const TensorSource& source;
  };
  const Hidden source(*a.weights);
  const Windows windows = some_windows();
  Scratch scratch(Scratch::kNoLimit);
  const WidthChoice choice = choose_width({a.architecture, source, windows, scratch}, 45);
  for (int64_t c = 0; c < 48; ++c)
    EXPECT_EQ(std::binary_search(choice.kept.begin(), choice.kept.end(), c), c != 5 && c != 6 && c != 40) << c;
  EXPECT_EQ(choice.importance[5], 0);
  EXPECT_GT(choice.importance[4], 0);
}

TEST(Width, PrincipalDirectionsAreOrthogonalAndHoldMostInTheFirst) {
  const test::TempDir dir;
  const Artifact a = small_model(dir, "llama", false);
  const Windows windows = some_windows();
  Scratch scratch(Scratch::kNoLimit);
  const std::vector<float> q = principal_directions({a.architecture, *a.weights, windows, scratch});
  const Eigen::Map<const Eigen::Matrix<float, 48, 48, Eigen::RowMajor>> m(q.data());
  EXPECT_LT((m.transpose() * m - Eigen::Matrix<float, 48, 48>::Identity()).cwiseAbs().maxCoeff(), 1e-5);
  const RotatedWeights rotated(a.architecture, *a.weights, q);
  const auto weights = dense_weights(a.architecture, rotated);
  BlockwiseForward run(a.architecture, *weights, {}, windows);
  run.run();
  double first = 0, last = 0;
  for (int64_t t = 0; t < windows.tokens(); ++t)
    for (int64_t c = 0; c < 12; ++c) {
      const double x = run.hidden()[static_cast<size_t>(t * 48 + c)],
                   y = run.hidden()[static_cast<size_t>(t * 48 + 36 + c)];
      first += x * x;
      last += y * y;
    }
  EXPECT_GT(first, 2 * last);
}

}  // namespace
}  // namespace kerf
