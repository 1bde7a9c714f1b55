#include "pipeline/runs/allocate.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/text_windows.h"
#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

CompressOptions job(const fs::path& out, const std::string& target) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {target};
  o.method = "rtn";
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 8};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 256, .windows = 8};
  o.out = out;
  return o;
}

Allocation share_out(uint64_t bytes, const std::string& target = "llama.cpp-cpu") {
  const Artifact source = open_artifact(test::example_dir());
  const Windows windows = read_calibration(source, job("", target).calib);
  return allocate(source, parse_target(target), "tinytales", {}, bytes, windows);
}

double kl(const Report& r) { return r.targets[0].verification->comparison.kl_mean; }

TEST(Allocate, BeatsAMixtureOfTheSameSize) {
  test::TempDir dir;
  const Report mixture = compress(job(dir / "mixture", "llama.cpp-cpu:Q4_K_M"));
  const Allocation a = share_out(mixture.targets[0].bytes);
  EXPECT_LE(a.bytes, mixture.targets[0].bytes);
  EXPECT_GT(a.bytes, mixture.targets[0].bytes * 98 / 100);
  EXPECT_GT(a.curve.size(), 10u);
  CompressOptions o = job(dir / "shared", "llama.cpp-cpu:" + a.scheme);
  o.overrides = a.overrides();
  const Report shared = compress(o);
  EXPECT_EQ(shared.targets[0].bytes, a.bytes) << "bytes are exact";
  EXPECT_LT(kl(shared), kl(mixture));
  RecordProperty("predicted", fmt::format("{}", a.kl));
  RecordProperty("measured", fmt::format("{}", kl(shared)));
  RecordProperty("mixture", fmt::format("{}", kl(mixture)));
}

std::string refusal(uint64_t bytes, const std::string& target, ErrorKind kind) {
  try {
    share_out(bytes, target);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "";
}

TEST(Allocate, NamesTheSmallestSize) {
  const std::string said = refusal(1'000'000, "llama.cpp-cpu", ErrorKind::usage), words = "the smallest file has ";
  const size_t at = said.find(words);
  ASSERT_NE(at, std::string::npos) << said;
  const uint64_t smallest = std::stoull(said.substr(at + words.size()));
  EXPECT_EQ(share_out(smallest).bytes, smallest);
  EXPECT_NE(refusal(smallest, "vllm:w4a16-g32", ErrorKind::unsupported).find("vllm"), std::string::npos);
}

}  // namespace
}  // namespace kerf
