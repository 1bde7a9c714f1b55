// What a run says beforehand and afterwards about what it did not know: sizes left open, disks that say nothing,
// windows too few to judge on, windows without a BOS.
#include "pipeline/runs/estimate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/prune/depth.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/eval_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

CompressOptions job(const fs::path& out, const std::string& target, const std::string& method, int64_t windows) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {target};
  o.method = method;
  o.calib = {.text = test::example_dir() / "heldout.txt", .windows = windows, .ctx = 64};
  o.out = out;
  return o;
}

TEST(DryRun, LeavesSchemesOpenInsteadOfMeasuring) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "llama.cpp-cpu", "gptq", 8);
  o.bytes = 2'200'000;
  testing::internal::CaptureStderr();
  const RunEstimate e = dry_run(o);
  EXPECT_FALSE(test::mentions(testing::internal::GetCapturedStderr(), "measuring")) << "that is what takes the time";
  EXPECT_FALSE(fs::exists(dir / "out"));
  ASSERT_EQ(e.targets.size(), 1u);
  EXPECT_TRUE(e.targets[0].open);
  EXPECT_EQ(e.targets[0].bytes, o.bytes);
  ASSERT_TRUE(e.choice);
  EXPECT_EQ(e.choice->matrices, 29);  // the embedding and 4 blocks of 7
  EXPECT_EQ(e.choice->tokens, 8 * 64);
  // Three passes, one for the embedding, and for 7 matrices in each of 4 blocks what is left: 7 (4 + 3 + 2 + 1) / 4.
  EXPECT_DOUBLE_EQ(e.choice->passes, 3 + 1 + 17.5);
  CompressOptions without = o;
  without.bytes = 0;
  EXPECT_GE(e.seconds, e.choice->seconds);
  EXPECT_GT(e.choice->seconds, 0);
  EXPECT_TRUE(test::mentions(to_table(e), "schemes are left open"));
  EXPECT_TRUE(to_json(e)["targets"][0]["bpw"]["body"].is_null());
  o.bytes = 1'000'000;
  EXPECT_TRUE(test::mentions(test::refusal([&] { dry_run(o); }, ErrorKind::usage), "the smallest file has"));
}

TEST(DryRun, MeasuresEachPartOfTheTime) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", "llama.cpp-cpu:Q4_K_M", "auto", 16);
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 4};
  const RunEstimate e = dry_run(o);
  EXPECT_FALSE(fs::exists(dir / "out"));
  ASSERT_TRUE(e.calibration);
  for (const double part : {e.calibration->passes, e.calibration->statistics, e.calibration->choosing, e.evaluation})
    EXPECT_GT(part, 0);
  EXPECT_GT(e.seconds, e.calibration->total() + e.evaluation);
  EXPECT_EQ(to_json(e)["calibration"].size(), 4u);
  EXPECT_TRUE(test::mentions(to_table(e), "choosing codes"));
  EXPECT_EQ(e.calibration->gradients, 0);
  o.hessian = "kl";
  const RunEstimate with_gradients = dry_run(o);
  EXPECT_GT(with_gradients.calibration->gradients, 0);
  EXPECT_GT(with_gradients.activations, e.activations);
  EXPECT_TRUE(test::mentions(to_table(with_gradients), "gradients"));
  o.hessian.clear();
  // Two targets are two passes, and share the one in full precision.
  o.targets = {"llama.cpp-cpu:Q4_K_M", "vllm:w4a16-g32"};
  EXPECT_GT(dry_run(o).calibration->choosing, 0);
  o.calib = {};
  o.method = "rtn";
  o.eval = {};
  const RunEstimate plain = dry_run(o);
  EXPECT_FALSE(plain.calibration);
  EXPECT_EQ(plain.evaluation, 0);
  EXPECT_FALSE(to_json(plain).contains("calibration"));
}

// Every kind of storage: rows that share scales, activations that are rounded, scales in common, words of codes.
TEST(DryRun, MeasuresEveryKindOfStorage) {
  test::TempDir dir;
  for (const char* target : {"llama.cpp-cpu:IQ2_XXS", "vllm:fp8-block", "vllm:w8a8", "vllm:fp8-tensor", "awq:w4-g64",
                             "transformers-gptq:w3-channel-asym"})
    for (const char* method : {"auto", "awq", "rtn"}) {
      SCOPED_TRACE(fmt::format("{} {}", target, method));
      EXPECT_GT(dry_run(job(dir / "out", target, method, 8)).calibration->total(), 0);
    }
}

TEST(DryRun, CountsPruning) {
  test::TempDir dir;
  const auto estimated = [&](const char* prune, const char* allocation = "") {
    CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "gptq", 16);
    o.eval = {.text = test::example_dir() / "calibration.txt", .ctx = 64, .windows = 2};
    o.prune = {prune};
    o.prune_allocation = allocation;
    testing::internal::CaptureStderr();
    const RunEstimate e = dry_run(o);
    EXPECT_EQ(testing::internal::GetCapturedStderr().find("ridge"), std::string::npos);
    EXPECT_FALSE(fs::exists(o.out));
    EXPECT_GT(e.speeds, 0);
    EXPECT_GT(e.seconds, e.calibration->total() + e.evaluation + e.pruning + e.texts + e.speeds);
    return e;
  };
  const RunEstimate masks = estimated("2:4"), shares = estimated("sparsity=0.5", "sensitivity"),
                    depth = estimated("depth=1"), size = estimated("params=0.8");
  EXPECT_EQ(masks.pruning, 0);  // zeros are chosen with the codes
  EXPECT_GT(masks.texts, 0);
  EXPECT_GT(masks.calibration->choosing, 0);
  EXPECT_GT(shares.pruning, 0);
  EXPECT_GT(depth.pruning, 0);
  EXPECT_GT(depth.texts, 0);
  EXPECT_GT(size.pruning, depth.pruning);  // a dozen trials
  EXPECT_TRUE(test::mentions(to_table(size), " pruning, "));
  EXPECT_GT(to_json(depth)["pruning"]["seconds"], 0);
  EXPECT_TRUE(test::mentions(size.stays[0], "the run measures "));
  // What a run would refuse.
  CompressOptions o = job(dir / "out", "vllm:w4a16-g32", "gptq", 4);
  o.prune = {"depth=1"};
  EXPECT_TRUE(test::mentions(test::refusal([&] { dry_run(o); }, ErrorKind::usage), "--prune-correction off"));
  o.prune = {"params=0.8"};
  EXPECT_TRUE(test::mentions(test::refusal([&] { dry_run(o); }, ErrorKind::usage), "with 16 windows or more"));
}

TEST(DryRun, CountsSetsOfBlocks) {
  const DepthWork few =
      depth_work(6, 2);  // 15 sets: 5 begin at block 0, where 4 blocks are left to run, 4 at block 1 ...
  EXPECT_DOUBLE_EQ(few.passes, 1 + (5 * 4 + 4 * 3 + 3 * 2 + 2 * 1) / 6.0);
  EXPECT_EQ(few.heads, 16);
  const DepthWork many = depth_work(30, 2);
  EXPECT_EQ(many.heads, 1 + 9 + 2 * 7);
  EXPECT_GT(many.passes, 5);
  EXPECT_LT(many.passes, 24);
}

TEST(DryRun, SaysNothingOfADiskThatSaysNothing) {
  EXPECT_FALSE(free_bytes("/proc/x/y"));  // a file system without blocks
  test::TempDir dir;
  EXPECT_GT(free_bytes(dir / "a" / "b").value_or(0), 0u);
  RunEstimate e{.parameters = 1};
  EXPECT_TRUE(to_json(e)["disk"]["free"].is_null());
  EXPECT_TRUE(test::mentions(to_table(e), "an unknown size free"));
}

TEST(Judging, SaysWhenThereAreTooFewWindows) {
  EXPECT_EQ(held_out_windows(1), 0);
  EXPECT_EQ(held_out_windows(2), 1);
  EXPECT_EQ(held_out_windows(7), 1);
  EXPECT_EQ(held_out_windows(8), 1);
  EXPECT_EQ(held_out_windows(17), 2);
  struct Case {
    int64_t windows;
    const char *method, *said;
  };
  for (const Case& c : {Case{1, "auto", "on the one calibration window that they were made from"},
                        Case{4, "auto", "on one window that they were not made from, of 4"}, Case{8, "auto", nullptr},
                        Case{4, "gptq", nullptr}}) {
    SCOPED_TRACE(fmt::format("{} {}", c.windows, c.method));
    test::TempDir dir;
    CompressOptions o = job(dir / "out", "vllm:w4a16-g32", c.method, c.windows);
    o.asymmetric = false;
    testing::internal::CaptureStderr();
    const Report r = compress(o);
    const std::string said = testing::internal::GetCapturedStderr();
    const std::string report = read_text(dir / "out" / "kerf-report.json");
    for (const std::string& text : {said, report})
      EXPECT_EQ(test::mentions(text, "judged its choices"), c.said != nullptr);
    if (c.said) {
      EXPECT_TRUE(test::mentions(said, c.said)) << said;
      EXPECT_TRUE(test::mentions(report, c.said)) << report;
    }
  }
}

TEST(WindowRule, NamesABosOnlyWhereThereIsOne) {
  test::TempDir dir;
  const fs::path model = dir / "model";
  fs::copy(test::example_dir(), model);
  CompressOptions o = job(dir / "with", "vllm:w8a16-channel", "rtn", 1);
  o.model = model;
  o.calib.text.clear();
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 32, .windows = 2};
  compress(o);
  const auto says = [&](const fs::path& file, const char* what) { return test::mentions(read_text(file), what); };
  for (const char* file : {"kerf-report.json", "README.md"})
    EXPECT_TRUE(says(o.out / file, "windows of BOS + 31 tokens")) << file;
  for (const char* file : {"config.json", "generation_config.json", "tokenizer_config.json"}) {
    auto j = nlohmann::ordered_json::parse(read_text(model / file));
    j.erase("bos_token_id");
    j.erase("bos_token");
    write_text(model / file, j.dump());
  }
  auto tokenizer = nlohmann::ordered_json::parse(read_text(model / "tokenizer.json"));
  tokenizer["post_processor"] = nullptr;  // which puts a BOS in front
  write_text(model / "tokenizer.json", tokenizer.dump());
  o.out = dir / "without";
  compress(o);
  for (const char* file : {"kerf-report.json", "README.md"})
    EXPECT_TRUE(says(o.out / file, "windows of 32 tokens")) << file;
  EXPECT_FALSE(eval_run({.model = model, .eval = o.eval}).windows_have_bos);
}

}  // namespace
}  // namespace kerf
