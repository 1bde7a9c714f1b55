// Zeros in whole models: masks on real inputs beside the papers, files that hold them, refusals before any work.
#define EIGEN_DONT_PARALLELIZE  // as in solver/factor.cc
#include <gtest/gtest.h>

#include <set>

#include "core/file.h"
#include "core/parallel.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_statistics.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/text_windows.h"
#include "pipeline/runs/verify_run.h"
#include "prune/refit.h"
#include "tests/prune/reference.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

CompressOptions job(const fs::path& out, std::string target, std::string what, std::string how) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {std::move(target)};
  o.method = "gptq";
  o.prune = {std::move(what)};
  o.prune_method = std::move(how);
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 32, .ctx = 128};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 128, .windows = 8};
  o.out = out;
  return o;
}

double kl_of(const Report& r) { return r.targets[0].verification->comparison.kl_mean; }

std::vector<float> decoded(const Artifact& a, const Site& site) {
  std::vector<float> w(static_cast<size_t>(site.out * site.in));
  a.weights->read(*a.weights->find(site.name), 0, w);
  return w;
}

// Whether every `of` neighbours hold at least `zeros` zeros.
bool has_pattern(const std::vector<float>& w, int zeros, int of) {
  for (size_t at = 0; at < w.size(); at += static_cast<size_t>(of))
    if (std::count(w.begin() + static_cast<std::ptrdiff_t>(at), w.begin() + static_cast<std::ptrdiff_t>(at) + of,
                   0.0f) < zeros)
      return false;
  return true;
}

double share_of_zeros(const std::vector<float>& w) {
  return static_cast<double>(std::count(w.begin(), w.end(), 0.0f)) / static_cast<double>(w.size());
}

// Inputs of real matrices: the groups of a block of the embedded model.
TEST(PruningOfRealSites, ReachesTheObjectivesOfThePapersWithinATenthOfAPercent) {
  const Artifact source = open_artifact(test::example_dir());
  const Windows windows = read_calibration(source, {.text = test::example_dir() / "calibration.txt", .windows = 16});
  const auto weights = dense_weights(source.architecture, *source.weights);
  BlockwiseForward stream(source.architecture, *weights, {}, windows);
  int sites = 0;
  stream.run_block_in_groups(0, [&](const BlockwiseForward::Group& g) {
    const Hessian h = group_statistics(g, {}).fitted;
    const test::Matrix plain = test::damped(h, 0), damped = test::damped(h, 0.01);
    std::vector<double> norms;
    for (int64_t c = 0; c < h.n; ++c) norms.push_back(std::sqrt(static_cast<double>(h.diagonal(c))));
    const Site& site = g.sites[0];
    const int64_t rows = std::min<int64_t>(site.out, 100);
    std::vector<float> w = read_matrix(*source.weights, site);
    w.resize(static_cast<size_t>(rows * site.in));
    const test::Matrix original = test::matrix_of(w, rows, site.in);
    const auto error = [&](const PrunedMatrix& p) {
      return test::objective(original, test::matrix_of(p.values, rows, site.in), plain);
    };
    for (const char* text : {"0.5", "2:4"}) {
      const Sparsity s = parse_sparsity(text);
      const std::string where = site.name + " " + text;
      const auto pruned = [&](const char* name) {
        return find_pruner(name).prepare(&h, s, 0.01)->prune(w, rows, site.in);
      };
      const std::vector<double> ones(norms.size(), 1.0);
      EXPECT_NEAR(error(pruned("magnitude")) /
                      test::objective(original, test::prune_by_score(original, ones, s, false).values, plain),
                  1, 1e-3)
          << where;
      EXPECT_NEAR(error(pruned("wanda")) /
                      test::objective(original, test::prune_by_score(original, norms, s, true).values, plain),
                  1, 1e-3)
          << where;
      PrunedMatrix p = pruned("sparsegpt");
      const double before = error(p);
      EXPECT_NEAR(before / test::objective(original, test::sparsegpt(original, damped, s, 128).values, plain), 1, 1e-3)
          << where;
      refit(h, 0.01, w, rows, p);
      EXPECT_LT(error(p), before) << where;
      const double least = test::objective(original, test::least_squares(original, damped, p.mask.zero), damped);
      EXPECT_NEAR(test::objective(original, test::matrix_of(p.values, rows, site.in), damped) / least, 1, 1e-3)
          << where;
    }
    ++sites;
    return passthrough(g, *source.weights);
  });
  EXPECT_EQ(sites, 4);
}

// Every layout that can hold it, plain numbers too, with and without a text.
TEST(Pruning, ZerosOfTheFilesAreThoseAskedForInTheBlocksAndNowhereElse) {
  test::TempDir dir;
  for (const char* target :
       {"llama.cpp-cpu:F16", "llama.cpp-cpu:Q4_0", "llama.cpp-cpu:Q6_K", "vllm:w4a16-g32", "vllm:w4a16-g32-asym",
        "vllm:w8a8", "vllm:fp8", "vllm:fp8-tensor", "vllm:fp8-block", "transformers-gptq:w4-g32", "awq:w4-g32"})
    for (const char* how : {"sparsegpt+refit", ""}) {
      CompressOptions o = job(dir / "out", target, "2:4", how);
      o.force = true;
      o.eval = {};
      o.calib.windows = 4;
      if (*how == '\0') {
        o.calib = {};
        o.method = "rtn";
      }
      const Report r = compress(o);
      const fs::path file = r.targets[0].files[0].name;
      const Artifact packed = open_artifact(file.extension() == ".gguf" ? o.out / file : o.out);
      const Architecture& a = packed.architecture;
      for (int64_t layer = 0; layer < a.layers(); ++layer)
        for (const Site& site : a.block_sites(layer))
          EXPECT_TRUE(has_pattern(decoded(packed, site), 2, 4)) << target << " " << how << " " << site.name;
      EXPECT_LT(share_of_zeros(decoded(packed, a.embedding())), 0.2) << target;
      EXPECT_EQ(r.recipe->prune_method, *how == '\0' ? "magnitude" : how);
      for (const SiteOutcome& s : r.targets[0].calibrated)
        if (s.name.find("layers") != s.name.npos) {
          EXPECT_EQ(s.zeros, 0.5);
          EXPECT_TRUE(s.method.starts_with(how) && s.method.ends_with(" 2:4")) << s.method;
        }
      EXPECT_TRUE(std::any_of(r.targets[0].remarks.begin(), r.targets[0].remarks.end(), [](const std::string& remark) {
        return test::mentions(remark, "no file becomes smaller");
      }));
    }
}

TEST(Pruning, LosesLessTheMoreThePrunerKnows) {
  for (const char* what : {"sparsity=0.5", "2:4"}) {
    test::TempDir dir;
    std::vector<double> kl;
    for (const char* how : {"magnitude", "wanda", "sparsegpt", "sparsegpt+refit"}) {
      kl.push_back(kl_of(compress(job(dir / how, "llama.cpp-cpu:BF16", what, how))));
      if (kl.size() == 1) continue;
      EXPECT_LT(kl.back(), 0.95 * kl[kl.size() - 2]) << what << " " << how;
    }
    CompressOptions o = job(dir / "asymmetric", "llama.cpp-cpu:BF16", what, "sparsegpt+refit");
    o.asymmetric = true;
    EXPECT_LT(kl_of(compress(o)), 0.95 * kl.back()) << what;
  }
}

// First pruned, and what comes of that quantized, by the same methods.
TEST(Pruning, TogetherWithQuantizationLosesLessThanOneAfterTheOther) {
  test::TempDir dir;
  CompressOptions pruned = job(dir / "pruned", "llama.cpp-cpu:F32", "2:4", "sparsegpt");
  pruned.eval = {};
  const std::string file = compress(pruned).targets[0].files[0].name;
  CompressOptions then = job(dir / "then", "llama.cpp-cpu:Q4_0", "2:4", "magnitude");
  then.model = dir / "pruned" / file;
  then.eval = {};
  const std::string quantized = compress(then).targets[0].files[0].name;
  const Report together = compress(job(dir / "together", "llama.cpp-cpu:Q4_0", "2:4", "sparsegpt"));
  const Report apart = verify_run(
      {.packed = dir / "then" / quantized, .against = test::example_dir(), .eval = job({}, "", "", "").eval});
  EXPECT_LT(kl_of(together), 0.95 * kl_of(apart));
}

TEST(Pruning, GivesTheSameBytesForAnyNumberOfThreadsAndForARunThatGoesOn) {
  test::TempDir dir;
  const auto bytes = [&](const char* name, int n, const CompressOptions& like) {
    CompressOptions o = like;
    o.out = dir / name;
    o.eval = {};
    set_threads(n);
    compress(o);
    set_threads(0);
    return read_text(o.out / "model.safetensors", 1 << 30);
  };
  CompressOptions o = job("", "vllm:w4a16-g32", "sparsity=0.4", "sparsegpt+refit");
  o.method = "auto";
  o.calib.windows = 8;
  o.overrides = {{.sites = {"ffn_down"}, .sparsity = "5:8"}, {.sites = {"attn_k"}, .sparsity = "none"}};
  const std::string one = bytes("one", 1, o);
  EXPECT_TRUE(bytes("three", 3, o) == one);
  // A missed gate leaves the state of the run.
  o.out = dir / "stopped";
  o.gate = "kl<0.0001";
  o.save_every = 0;
  EXPECT_FALSE(compress(o).passed());
  EXPECT_FALSE(fs::exists(o.out / "model.safetensors"));
  o.resume = o.publish_anyway = true;
  compress(o);
  EXPECT_TRUE(read_text(o.out / "model.safetensors", 1 << 30) == one);
}

TEST(Pruning, OverridesGiveMatricesTheirOwnSparsityOrNone) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "llama.cpp-cpu:BF16", "sparsity=0.5", "wanda");
  o.eval = {};
  o.overrides = {{.sites = {"ffn_down"}, .sparsity = "0.25"}, {.sites = {"attn_k"}, .sparsity = "none"}};
  const Report r = compress(o);
  const Artifact packed = open_artifact(dir / "out" / r.targets[0].files[0].name);
  for (const Site& site : packed.architecture.block_sites(1))
    EXPECT_NEAR(share_of_zeros(decoded(packed, site)),
                site.role == "ffn_down" ? 0.25
                : site.role == "attn_k" ? 0.0
                                        : 0.5,
                0.001)
        << site.name;
}

TEST(Pruning, SharesBySensitivityLeaveAsManyWeightsAndLoseLess) {
  test::TempDir dir;
  CompressOptions o = job(dir / "uniform", "llama.cpp-cpu:BF16", "sparsity=0.6", "wanda");
  const double uniform = kl_of(compress(o));
  o.out = dir / "sensitivity";
  o.prune_allocation = "sensitivity";
  const Report r = compress(o);
  EXPECT_LT(kl_of(r), 0.95 * uniform);
  double zeros = 0, all = 0;
  std::set<double> shares;
  const Artifact packed = open_artifact(o.out / r.targets[0].files[0].name);
  for (int64_t layer = 0; layer < packed.architecture.layers(); ++layer)
    for (const Site& site : packed.architecture.block_sites(layer)) {
      const double weights = static_cast<double>(site.out * site.in), share = share_of_zeros(decoded(packed, site));
      zeros += share * weights;
      all += weights;
      shares.insert(std::round(share * 100));
    }
  // Shares come in steps of 5 % of a matrix: what they miss of the sum is less than one step of the smallest matrix.
  EXPECT_GE(zeros, 0.6 * all - 1);
  EXPECT_LT(zeros, 0.61 * all);
  EXPECT_GT(shares.size(), 3u);
  // The recipe of the report names what was chosen, and gives the same without measuring.
  CompressOptions again = o;
  static_cast<Recipe&>(again) = *r.recipe;
  EXPECT_EQ(again.prune_allocation, "");
  again.out = dir / "again";
  EXPECT_EQ(kl_of(compress(again)), kl_of(r));
}

TEST(Pruning, SharesBySensitivityNeedAShareAndAText) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "llama.cpp-cpu:BF16", "2:4", "wanda");
  o.prune_allocation = "sensitivity";
  const auto refusal = [&] { return test::refusal([&] { compress(o); }, ErrorKind::usage); };
  EXPECT_TRUE(test::mentions(refusal(), "need sparsity=SHARE"));
  o.prune = {"sparsity=0.5"};
  o.prune_method = "magnitude";
  o.method = "rtn";
  o.calib = {};
  EXPECT_TRUE(test::mentions(refusal(), "give --calib FILE"));
  o.prune.clear();
  o.prune_method.clear();
  o.overrides = {{.sites = {"ffn_down"}, .sparsity = "0.5"}};
  EXPECT_TRUE(test::mentions(refusal(), "which is missing"));
}

TEST(Pruning, RefusesBeforeItWorksWhatATargetOrAMatrixCannotHold) {
  test::TempDir dir;
  const auto refusal = [&](const CompressOptions& o, ErrorKind kind) {
    const std::string sentence = test::refusal([&] { compress(o); }, kind);
    EXPECT_FALSE(fs::exists(o.out)) << sentence;
    return sentence;
  };
  for (const char* target : {"llama.cpp-cpu:Q4_K_M", "llama.cpp-cpu:Q4_1", "llama.cpp-cpu:IQ4_XS"}) {
    const std::string said = refusal(job(dir / "out", target, "2:4", "sparsegpt"), ErrorKind::unsupported);
    EXPECT_TRUE(test::mentions(said, target)) << said;
    EXPECT_TRUE(test::mentions(said, "choose among llama.cpp-cpu (Q4_0, ")) << said;
    EXPECT_TRUE(test::mentions(said, "vllm (w4a16, ")) << said;
    EXPECT_FALSE(test::mentions(said, "Q4_1, ")) << said;
  }
  const std::string width = refusal(job(dir / "out", "vllm:w4a16-g32", "3:7", ""), ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(width, "3:7 does not divide rows of 256 weights")) << width;
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "2:4", "wanda");
  o.calib = {};
  o.method = "rtn";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "give --calib FILE"));
  o = job(dir / "out", "vllm:w4a16-g32", "2:4", "");
  o.prune.clear();
  o.prune_method = "wanda";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "none are asked for"));
  o.prune_method.clear();
  o.overrides = {{.sites = {"token_embd"}, .sparsity = "2:4"}};
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "only matrices of the blocks are pruned"));
  o = job(dir / "out", "llama.cpp-cpu", "2:4", "");
  o.bytes = 2'000'000;
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "name a scheme of the target"));
}

}  // namespace
}  // namespace kerf
