// What output errors cost, beside what they do cost; and calibration that goes by it.
#include "pipeline/calibrate/output_hessians.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_statistics.h"
#include "pipeline/calibrate/sensitivity.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/source.h"
#include "pipeline/runs/text_windows.h"
#include "solver/row_feedback.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

Windows windows_of(const Artifact& a, int64_t count) {
  return read_calibration(a, {.text = test::example_dir() / "calibration.txt", .windows = count, .ctx = 128});
}

TEST(OutputHessians, PredictTheDivergenceThatSmallErrorsCause) {
  const Artifact a = open_artifact(test::example_dir());
  const Windows windows = windows_of(a, 48);
  Scratch scratch;
  const OutputHessians outputs(a.architecture, *a.weights, windows, 1, scratch);
  FullPrecisionRun run(a.architecture, *a.weights, windows, scratch);
  std::mt19937 rng(1);
  int compared = 0;
  for (int64_t layer = 0; layer < 3; ++layer) {
    run.begin(layer);
    while (const std::optional<BlockwiseForward::Group> g = run.next_group()) {
      if (g->sites.size() == 1 && layer > 0) {  // whose tokens' weights are those of its own gradients
        const Site site = g->sites[0];
        const std::vector<float> w = read_matrix(*a.weights, site);
        double square = 0;
        for (const float v : w) square += static_cast<double>(v) * static_cast<double>(v);
        std::normal_distribution<float> normal(
            0, 0.05F * std::sqrt(static_cast<float>(square) / static_cast<float>(w.size())));
        std::vector<float> e(w.size()), moved = w;
        for (size_t i = 0; i < e.size(); ++i) moved[i] += e[i] = normal(rng);
        StatisticsNeeds needs;
        needs.token_weights = outputs.token_weights(g->sites);
        const Hessian h = group_statistics(*g, needs).fitted, of_outputs = outputs.of(site);
        // 1/2 mean |g| tr(G E H ET), a token.
        const auto tokens = static_cast<double>(windows.tokens());
        const double magnitude = of_outputs.mean() * static_cast<double>(site.out) / tokens;
        const double weighed =
            squared_outputs(h, RowFeedback(of_outputs, 1e-6, true).weighted(e, site.in), site.out) / tokens;
        const double predicted = 0.5 * magnitude * weighed / tokens;
        const Probe probe{site, [&] { return moved; }};
        const double kl = probe_kl(a.architecture, *a.weights, {&probe, 1}, windows)[0];
        // Measured: 0.68 to 0.79. What is missing is the spread of the magnitudes: their mean square is more.
        EXPECT_GT(predicted / kl, 0.55) << site.name;
        EXPECT_LT(predicted / kl, 1) << site.name;
        RecordProperty(site.name, std::to_string(predicted / kl));
        ++compared;
      }
      run.go_on(*g);
    }
  }
  EXPECT_EQ(compared, 4);
}

TEST(OutputHessians, AreTheSameForAnyNumberOfThreadsInAnyMemoryAndFromAnyLayer) {
  const Artifact a = open_artifact(test::example_dir());
  const Windows windows = windows_of(a, 20);
  const std::vector<Site> sites = a.architecture.block_sites(2);
  Scratch memory, file(0, fs::temp_directory_path());
  set_threads(1);
  const OutputHessians one(a.architecture, *a.weights, windows, 0, memory);
  set_threads(3);
  const OutputHessians three(a.architecture, *a.weights, windows, 2, file);
  set_threads(0);
  EXPECT_GT(file.in_files(), 0U);
  for (const Site& site : sites) {
    EXPECT_EQ(one.of(site).values, three.of(site).values) << site.name;
    EXPECT_EQ(one.of(site).tokens, 20 * 128);
  }
  EXPECT_EQ(one.token_weights(sites), three.token_weights(sites));
  const std::vector<float> weights = one.token_weights(sites);
  double sum = 0;
  for (const float w : weights) sum += static_cast<double>(w);
  EXPECT_NEAR(sum / static_cast<double>(weights.size()), 1, 1e-5);
}

CompressOptions job(const fs::path& out, std::string target, std::string method) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {std::move(target)};
  o.method = std::move(method);
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 64, .ctx = 128};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 128, .windows = 32};
  o.out = out;
  o.hessian = "kl";
  return o;
}

TEST(KlHessian, LosesLess) {
  test::TempDir dir;
  for (const char* target : {"vllm:w3a16-g128", "llama.cpp-cpu:Q2_K"}) {
    CompressOptions o = job(dir / "kl", target, "auto");
    o.force = true;
    const Report kl = compress(o);
    EXPECT_EQ(kl.recipe->hessian, "kl");
    o.hessian = "inputs";
    EXPECT_LT(kl.targets[0].verification->comparison.kl_mean,
              0.92 * compress(o).targets[0].verification->comparison.kl_mean)
        << target;
  }
}

// One scale for several matrices or for blocks of several rows, scales per row, activations that are rounded, zeros,
// and values of a codebook.
TEST(KlHessian, GoesWithEveryKindOfScheme) {
  test::TempDir dir;
  for (const char* target : {"llama.cpp-cpu:NVFP4", "vllm:fp8-block", "vllm:fp8-tensor", "vllm:w8a8", "awq:w4-g32",
                             "llama.cpp-cpu:IQ4_XS", "llama.cpp-cpu:IQ2_XXS", "checkpoint"}) {
    CompressOptions o = job(dir / "kl", target, target == std::string("checkpoint") ? "" : "gptq");
    if (target == std::string("checkpoint") || target == std::string("awq:w4-g32")) o.prune = {"sparsity=0.3"};
    o.calib.windows = 8;
    o.eval.windows = 8;
    o.force = true;
    const Report kl = compress(o);
    o.hessian.clear();
    EXPECT_LT(kl.targets[0].verification->comparison.kl_mean,
              1.2 * compress(o).targets[0].verification->comparison.kl_mean)
        << target;
  }
}

TEST(KlHessian, SaysWhereItDoesNothingLittleOrHarm) {
  test::TempDir dir;
  const auto said = [&](const CompressOptions& o) {
    testing::internal::CaptureStderr();
    compress(o);
    return testing::internal::GetCapturedStderr();
  };
  CompressOptions o = job(dir / "out", "checkpoint", "");
  o.force = true;
  o.eval.windows = 2;
  o.calib.windows = 8;
  EXPECT_TRUE(test::mentions(said(o), "codes and zeros, and there are none"));
  o.targets = {"vllm:w4a16-g32"};
  o.method = "rtn";
  EXPECT_TRUE(test::mentions(said(o), "the method rtn rounds each weight by itself"));
  o.method = "gptq";
  EXPECT_FALSE(test::mentions(said(o), "--hessian"));
  o.calib.windows = 5;
  EXPECT_TRUE(test::mentions(said(o), "640 calibration tokens are fewer than the 768 outputs"));
  o.hessian = "KL";
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "--hessian KL: there is inputs and kl"));
  o.hessian.clear();
  o.prune_allocation = "foo";
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "--prune-allocation foo"));
}

TEST(KlHessian, NeedsACalibrationText) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "rtn");
  o.calib.text.clear();
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "give --calib FILE"));
  EXPECT_FALSE(fs::exists(o.out));
}

}  // namespace
}  // namespace kerf
