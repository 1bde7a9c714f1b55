// Compression that looks at activations, on the embedded model.
#include "pipeline/calibrate/calibrated.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// A text that the model has not seen serves: what is tested here is not how good the calibration is.
CompressOptions job(const fs::path& out, std::string target, std::string method) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {std::move(target)};
  o.method = std::move(method);
  o.calib = {.text = test::example_dir() / "heldout.txt", .windows = 16, .ctx = 128};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 128, .windows = 8, .skip_tokens = 4000};
  o.out = out;
  return o;
}

std::string weights_of_run(const CompressOptions& o) {
  compress(o);
  std::ifstream in(o.out / "model.safetensors", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Calibrated, EveryMethodLosesLessThanRoundingToNearest) {
  for (const char* target : {"vllm:w4a16-g32", "vllm:w3a16-g128", "transformers-gptq:w4-g32"}) {
    test::TempDir dir;
    double rtn = 0;
    for (const char* method : {"rtn", "awq", "gptq", "gptq+awq", "auto"}) {
      CompressOptions o = job(dir / method, target, method);
      if (std::string(method) == "rtn") o.calib.text.clear();
      const Report r = compress(o);
      const double kl = r.targets[0].verification->comparison.kl_mean;
      if (rtn == 0) rtn = kl;
      if (method != std::string("rtn")) {
        EXPECT_LT(kl, 0.97 * rtn) << target << " " << method;
      }
    }
  }
}

class OneOrTwoStreams : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Calibrated, OneOrTwoStreams, testing::Bool(),
                         [](const auto& info) { return info.param ? "Asymmetric" : "Plain"; });

TEST_P(OneOrTwoStreams, BytesAreTheSameWhetherActivationsLieInMemoryOrInAFile) {
  test::TempDir dir;
  CompressOptions o = job(dir / "memory", "vllm:w4a16-g32", "auto");
  o.asymmetric = GetParam();
  const RunEstimate unlimited = dry_run(o);
  const std::string expected = weights_of_run(o);
  CompressOptions least = o;
  least.out = dir / "file";
  least.memory = 1;
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(least); }, ErrorKind::usage), "--memory"));
  EXPECT_FALSE(fs::exists(least.out));
  least.memory = unlimited.memory - unlimited.activations;  // nothing is left for activations
  const RunEstimate in_file = dry_run(least);
  EXPECT_EQ(in_file.scratch, unlimited.activations);
  EXPECT_EQ(in_file.disk, unlimited.disk + in_file.scratch);
  // The hidden states of 16 windows, 128 tokens and 256 channels of each stream, twice, and a byte of each code.
  const uint64_t states = (GetParam() ? 2u : 1u) * 2 * 16 * 128 * 256 * sizeof(float);
  EXPECT_GT(unlimited.disk, unlimited.targets[0].bytes + states + unlimited.targets[0].bytes / 4);
  EXPECT_EQ(weights_of_run(least), expected);
}

TEST(Calibrated, AsymmetricCalibrationLosesLess) {
  for (const char* target : {"vllm:w4a16-g32", "vllm:w3a16-g128"}) {
    test::TempDir dir;
    CompressOptions o = job(dir / "off", target, "gptq");
    o.calib.windows = 64;
    o.eval.skip_tokens = 64 * 128 + 1000;
    const double off = compress(o).targets[0].verification->comparison.kl_mean;
    o.out = dir / "on";
    o.asymmetric = true;
    const Report on = compress(o);
    EXPECT_LT(on.targets[0].verification->comparison.kl_mean, 0.95 * off) << target;
    EXPECT_EQ(on.recipe->asymmetric, true);
    for (const SiteOutcome& s : on.targets[0].calibrated)  // nothing is lacking before the first matrices
      EXPECT_EQ(s.asymmetric_strength > 0, s.name.find("layers.0.self_attn.q") == s.name.npos &&
                                               s.name.find("layers.0.self_attn.k") == s.name.npos &&
                                               s.name.find("layers.0.self_attn.v") == s.name.npos)
          << s.name;
  }
}

TEST(Calibrated, AsymmetricCalibrationNeedsWindowsToHoldOut) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "gptq");
  o.asymmetric = true;
  const auto refused = [&] { return test::refusal([&] { compress(o); }, ErrorKind::usage); };
  o.calib.windows = 7;
  EXPECT_TRUE(test::mentions(refused(), "one of 8 windows, and there are 7"));
  o.calib.text.clear();
  o.method = "rtn";
  EXPECT_TRUE(test::mentions(refused(), "give --calib FILE"));
  EXPECT_FALSE(fs::exists(o.out));
}

TEST(Calibrated, IsAsymmetricByItselfWithAutoAndWindowsToHoldOut) {
  test::TempDir dir;
  const auto default_of = [&](const char* method, int64_t windows) {
    CompressOptions o = job(dir / "out", "vllm:w4a16-g32", method);
    o.calib.windows = windows;
    o.eval = {};
    o.force = true;
    return compress(o).recipe->asymmetric;
  };
  EXPECT_EQ(default_of("auto", 8), true);
  EXPECT_EQ(default_of("auto", 7), false);
  EXPECT_EQ(default_of("gptq", 8), false);
}

TEST(Calibrated, TargetsBesideOneFullPrecisionRunGetTheBytesOfEachAlone) {
  test::TempDir dir;
  CompressOptions o = job(dir / "both", "vllm:w4a16-g32", "gptq");
  o.asymmetric = true;
  o.eval = {};
  o.targets.push_back("vllm:w3a16-g128");
  compress(o);
  for (const std::string& target : std::vector<std::string>(o.targets)) {
    o.targets = {target};
    o.out = dir / target;
    const std::string folder = "vllm-" + target.substr(target.find(':') + 1);
    EXPECT_EQ(weights_of_run(o), read_text(dir / "both" / folder / "model.safetensors", 1 << 30)) << target;
  }
}

TEST(Calibrated, NoSiteLosesMoreThanRoundingToNearestDoes) {
  test::TempDir dir;
  const Report r = compress(job(dir / "out", "vllm:w4a16-g32", "gptq"));
  ASSERT_EQ(r.targets[0].calibrated.size(), 28u);
  for (const SiteOutcome& s : r.targets[0].calibrated) {
    EXPECT_EQ(s.method, "gptq") << s.name;
    EXPECT_LT(s.error, s.error_rtn) << s.name;
    EXPECT_NEAR(s.damping, 0.01, 1e-9) << s.name;
  }
}

TEST_P(OneOrTwoStreams, BytesDoNotDependOnTheNumberOfThreads) {
  test::TempDir dir;
  std::vector<std::string> bytes;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    CompressOptions o = job(dir / std::to_string(n), "vllm:w4a16-g32", "auto");
    o.asymmetric = GetParam();
    bytes.push_back(weights_of_run(o));
  }
  set_threads(0);
  EXPECT_EQ(bytes[0], bytes[1]);
  EXPECT_EQ(bytes[0], bytes[2]);
}

TEST(Calibrated, TheRecipeOfTheReportGivesTheSameBytes) {
  test::TempDir dir;
  CompressOptions o = job(dir / "a", "vllm:w4a16-g32", "auto");
  o.overrides = {{.sites = {"ffn_down"}, .scheme = "", .method = "rtn"}};
  const Report r = compress(o);
  for (const SiteOutcome& s : r.targets[0].calibrated) {
    if (s.name.find("down_proj") != std::string::npos) {
      EXPECT_EQ(s.method, "rtn");
    }
  }
  ASSERT_TRUE(r.recipe.has_value());
  CompressOptions again;
  static_cast<Recipe&>(again) = *r.recipe;
  again.model = o.model;
  again.out = dir / "b";
  compress(again);
  EXPECT_EQ(read_text(dir / "a" / "model.safetensors", 1 << 30), read_text(dir / "b" / "model.safetensors", 1 << 30));
}

const SiteOutcome* outcome_of(const Report& r, const std::string& name) {
  for (const SiteOutcome& s : r.targets[0].calibrated)
    if (s.name == name) return &s;
  return nullptr;
}

TEST(Calibrated, AQuantizedHeadIsChosenByItsInputsToo) {
  const std::string name = "model.embed_tokens.weight";  // tied
  test::TempDir dir;
  CompressOptions o = job(dir / "head", "llama.cpp-cpu:Q4_0-pure", "gptq");
  const Report chosen = compress(o);
  o.out = dir / "nearest";
  o.overrides = {{.sites = {"token_embd"}, .scheme = "", .method = "rtn"}};
  const Report nearest = compress(o);
  ASSERT_TRUE(outcome_of(chosen, name) && outcome_of(nearest, name));
  EXPECT_EQ(outcome_of(chosen, name)->method, "gptq");
  EXPECT_LT(outcome_of(chosen, name)->error, 0.8 * outcome_of(chosen, name)->error_rtn);
  EXPECT_EQ(outcome_of(nearest, name)->method, "rtn");
  EXPECT_EQ(outcome_of(nearest, name)->error, outcome_of(nearest, name)->error_rtn);
  EXPECT_LT(chosen.targets[0].verification->comparison.kl_mean,
            0.95 * nearest.targets[0].verification->comparison.kl_mean);
  // In plain numbers there is nothing to choose.
  EXPECT_FALSE(outcome_of(compress(job(dir / "plain", "vllm:w4a16-g32", "gptq")), name));
}

TEST(Calibrated, AHeadIsTheSameForAnyNumberOfThreadsAndInAnyMemory) {
  test::TempDir dir;
  CompressOptions o = job(dir / "one", "llama.cpp-cpu:Q4_K_M", "auto");
  o.eval.text.clear();
  const RunEstimate unlimited = dry_run(o);
  const auto bytes = [&] {
    compress(o);
    return read_text(o.out / "tinytales-Q4_K_M.gguf");
  };
  set_threads(1);
  const std::string expected = bytes();
  set_threads(3);
  o.out = dir / "three";
  o.memory = unlimited.memory - unlimited.activations + (uint64_t{32} << 20);  // more threads, more panels
  const std::string limited = bytes();
  set_threads(0);
  EXPECT_TRUE(limited == expected);
}

TEST(Calibrated, ScalesAreFoldedSoThatDecodedWeightsStillMakeTheModel) {
  // With 8 bits almost nothing is lost, so a wrong fold would show as a large divergence.
  test::TempDir dir;
  for (const char* target : {"vllm:w8a16-g32", "llama.cpp-cpu:Q8_0"}) {
    CompressOptions o = job(dir / fs::path(target).filename(), target, "awq");
    const Report r = compress(o);
    int scaled = 0;
    for (const SiteOutcome& s : r.targets[0].calibrated) scaled += s.alpha > 0;
    EXPECT_GT(scaled, 0) << target;
    EXPECT_LT(r.targets[0].verification->comparison.kl_mean, 0.002) << target;
  }
}

TEST(DryRun, SaysTheBytesThatTheRunThenWritesAndWritesNothing) {
  test::TempDir dir;
  const CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "rtn");
  const RunEstimate e = dry_run(o);
  EXPECT_FALSE(fs::exists(dir / "out"));
  const Report r = compress(o);
  ASSERT_EQ(e.targets.size(), 1u);
  // The report counts whole files, the estimate their tensors: the header is some kilobytes.
  EXPECT_LE(e.targets[0].bytes, r.targets[0].bytes);
  EXPECT_GT(e.targets[0].bytes, r.targets[0].bytes - 20000);
  EXPECT_NEAR(e.targets[0].bpw.body, r.targets[0].bpw.body, 1e-3);
  EXPECT_NEAR(e.targets[0].bpw.embedding, r.targets[0].bpw.embedding, 1e-3);
  EXPECT_GT(e.seconds, 0);
  EXPECT_GT(e.memory, 0u);
}

TEST(Calibrated, SaysWhenThereAreFewerTokensThanChannels) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "gptq");
  o.calib.windows = 2;  // 256 tokens: as many as the hidden channels, a third of the ffn's
  testing::internal::CaptureStderr();
  compress(o);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("256 calibration tokens are fewer than the 768 input channels"), std::string::npos) << said;
  EXPECT_EQ(said.find("than the 256 input channels"), std::string::npos);
}

TEST(Calibrated, AMethodThatNeedsATextSaysSo) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "gptq");
  o.calib.text.clear();
  try {
    compress(o);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("--calib"), std::string::npos);
    EXPECT_FALSE(fs::exists(dir / "out"));
  }
}

}  // namespace
}  // namespace kerf
