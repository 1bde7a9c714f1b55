// Weights that are too large or too small for the types that store them, or to which a runtime decodes them: kept,
// refused with the tensor's name and a way that there is, or said to be rounded away; and the dtype that kerf chooses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "grids/grid.h"
#include "pipeline/runs/compress.h"
#include "tests/support/refusal.h"
#include "tests/support/small_checkpoint.h"
#include "verify/artifact.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;
using test::SmallCheckpoint;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";
constexpr size_t kAt = 1000;  // of the large weight

// In float32, with numbers that no half holds.
struct FloatModel {
  explicit FloatModel(const std::function<void(SmallCheckpoint&)>& change = [](SmallCheckpoint&) {}) {
    const auto rows = static_cast<int64_t>(json::parse(read_text(test::example_dir() / "config.json"))["vocab_size"]);
    SmallCheckpoint c;
    c.config["vocab_size"] = rows;
    c.config["torch_dtype"] = "float32";
    c.add("model.embed_tokens.weight", {rows, SmallCheckpoint::kHidden}, 77);
    for (auto& [name, t] : c.tensors) {
      std::vector<float> values = c.values(name);
      for (float& v : values) v *= 1.00003f;
      c.put(name, t.shape, values, Dtype::f32);
    }
    change(c);
    c.write(dir / "model");
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy(test::example_dir() / name, dir / "model" / name);
  }
  CompressOptions job(const std::string& target, const std::string& dtype = "") const {
    CompressOptions o;
    o.model = dir / "model";
    o.targets = {target};
    o.out = dir / "out";
    o.force = true;
    if (!target.starts_with("llama.cpp")) o.dtype = dtype;
    return o;
  }
  test::TempDir dir;
};

FloatModel with_one(float value) {
  return FloatModel([&](SmallCheckpoint& c) { c.set_one(kDown, kAt, value); });
}
FloatModel with_scaled(const char* name, float by) {
  return FloatModel([&](SmallCheckpoint& c) {
    std::vector<float> values = c.values(name);
    for (float& v : values) v *= by;
    c.put(name, c.tensors.at(name).shape, values, Dtype::f32);
  });
}

void calibrate(CompressOptions& o, const char* method) {
  o.calib.text = test::example_dir() / "calibration.txt";
  o.calib.ctx = 32;
  o.calib.windows = 2;
  o.method = method;
}

struct Ran {
  std::string said;  // on stderr
  std::vector<std::string> remarks;
};
Ran run(const CompressOptions& o) {
  testing::internal::CaptureStderr();
  try {
    const Report r = compress(o);
    return {testing::internal::GetCapturedStderr(), r.targets[0].remarks};
  } catch (...) {
    testing::internal::GetCapturedStderr();
    throw;
  }
}

// What kDown holds in the written files.
std::vector<float> written(const CompressOptions& o) {
  fs::path file = o.out;
  for (const auto& entry : fs::directory_iterator(o.out))
    if (entry.path().extension() == ".gguf") file = entry.path();
  const Artifact a = open_artifact(file);
  const auto tensors = a.weights->tensors();
  const auto t = std::find_if(tensors.begin(), tensors.end(), [](const TensorInfo& each) {
    return each.name.starts_with("model.layers.0.mlp.down_proj") || each.name == "blk.0.ffn_down.weight";
  });
  std::vector<float> values(static_cast<size_t>(t->elements()));
  a.weights->read(*t, 0, values);
  return values;
}

constexpr const char* kHubTargets[] = {"awq:w4-g32",
                                       "awq:w4-channel",
                                       "awq:w4-g32-sym",
                                       "transformers-gptq:w4-g32-asym",
                                       "transformers-gptq:w2-g32-asym-v2",
                                       "transformers-gptq:w8-channel-asym",
                                       "transformers-gptq:w4-g32",
                                       "vllm:w4a16-g32-asym",
                                       "vllm:w4a16-channel-asym",
                                       "vllm:w8a16-g32",
                                       "vllm:w8a8",
                                       "vllm:fp8",
                                       "vllm:fp8-tensor",
                                       "vllm:fp8-block"};

TEST(LargeWeights, AreKeptOrRefused) {
  std::vector<std::string> targets(std::begin(kHubTargets), std::end(kHubTargets));
  for (const char* type : {"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "IQ2_XXS", "MXFP4", "NVFP4", "F16"})
    targets.push_back(fmt::format("llama.cpp-cpu:{}-pure", type));
  for (const float value : {9e5f, 2e6f, -1e7f, 1e20f, -1e30f}) {
    const FloatModel m = with_one(value);
    for (const std::string& target : targets) {
      SCOPED_TRACE(fmt::format("{} {}", target, value));
      const CompressOptions o = m.job(target);
      fs::remove_all(o.out);
      try {
        run(o);
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::numerical) << e.what();
        EXPECT_TRUE(test::mentions(e.what(), kDown)) << e.what();
        EXPECT_FALSE(test::mentions(e.what(), "store scales")) << e.what();
        EXPECT_FALSE(target.starts_with("vllm")) << "bfloat16 holds them: " << e.what();
        EXPECT_FALSE(fs::exists(o.out / "config.json"));
        continue;
      }
      EXPECT_FALSE(target.starts_with("awq") || target.starts_with("transformers"));
      const float kept = written(o)[kAt] / value;
      EXPECT_GT(kept, 0.5f);
      EXPECT_LT(kept, 1.5f);
    }
  }
}

TEST(LargeWeights, AreRefusedWithAWayThatThereIs) {
  const FloatModel m = with_one(1e5f), huge = with_one(-1e9f);
  for (const std::string target : kHubTargets) {
    const std::string said = test::refusal([&] { run(m.job(target, "float16")); }, ErrorKind::numerical);
    EXPECT_TRUE(test::mentions(said, kDown)) << said;
    EXPECT_TRUE(test::mentions(said, "holds 100000")) << said;
    EXPECT_TRUE(test::mentions(said, "65504")) << said;
    EXPECT_TRUE(
        test::mentions(said, target.starts_with("vllm") ? "; give --dtype bfloat16" : "vllm with --dtype bfloat16"))
        << said;
  }
  for (const char* type : {"Q8_0", "Q4_1", "Q4_K-pure", "IQ2_XXS-pure", "F16"}) {
    const CompressOptions o = huge.job(std::string("llama.cpp-cpu:") + type);
    const std::string said = test::refusal([&] { run(o); }, ErrorKind::numerical);
    EXPECT_TRUE(test::mentions(said, kDown)) << said;
    EXPECT_TRUE(test::mentions(said, "BF16, F32)")) << said;
    EXPECT_FALSE(test::mentions(said, "dtype")) << said;
  }
}

TEST(LargeWeights, AreRefusedBeforeAnyCalibratedRunBegins) {
  const FloatModel m = with_one(2e6f);
  for (const char* target : {"awq:w4-g32", "transformers-gptq:w4-g32-asym", "vllm:w4a16-g32-asym", "vllm:w8a8",
                             "vllm:fp8-tensor", "vllm:fp8-block"}) {
    CompressOptions o = m.job(target, "float16");
    calibrate(o, "gptq");
    const std::string said = test::refusal([&] { run(o); }, ErrorKind::numerical);
    EXPECT_TRUE(test::mentions(said, kDown)) << said;
    EXPECT_FALSE(fs::exists(o.out / ".kerf-resume")) << target;
  }
}

TEST(LargeWeights, HaveAScaleOrNoneThatIsFinite) {
  for (const float value : {2e6f, -2e6f, 1e20f}) {
    std::vector<float> w(32, 0.1f), decoded(32);
    w[7] = value;
    const Grid& grid = find_grid("int");
    for (const Dtype stored : {Dtype::bf16, Dtype::f32}) {
      QuantizedMatrix q = allocate(asymmetric_int(4, 32, stored), 1, 32);
      grid.fit_and_encode(w, {}, q);
      grid.decode(q, decoded);
      EXPECT_NEAR(decoded[7] / value, 1, 0.1);
    }
    QuantizedMatrix q = allocate(asymmetric_int(4, 32, Dtype::f16), 1, 32);
    const std::string said = test::refusal([&] { grid.fit_and_encode(w, {}, q); }, ErrorKind::numerical);
    EXPECT_TRUE(test::mentions(said, "choose a type without such scales (BF16, F32)")) << said;
  }
}

TEST(StoredDtype, OfLargeWeightsIsBfloat16) {
  for (const float value : {4e4f, 1e5f}) {
    const FloatModel m = with_one(value);
    for (const char* target : {"vllm:w4a16-g32", "vllm:w8a8", "vllm:fp8", "vllm:fp8-tensor", "vllm:fp8-block"}) {
      const Ran r = run(m.job(target));
      const std::string why = fmt::format("stored in bfloat16, because weights up to {} leave float16 no range", value);
      EXPECT_TRUE(test::mentions(r.said, why)) << r.said;
      EXPECT_EQ(json::parse(read_text(m.dir / "out" / "config.json"))["torch_dtype"], "bfloat16");
    }
  }
  EXPECT_TRUE(test::mentions(run(FloatModel().job("vllm:w8a8")).said, "stored in float16, which rounds them least"));
}

size_t times(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// One warning of each target, and a remark in its report.
void expect_said(const CompressOptions& o, std::string_view what) {
  SCOPED_TRACE(o.targets[0]);
  const Ran r = run(o);
  EXPECT_EQ(times(r.said, "the largest weight is"), 1u) << r.said;
  EXPECT_TRUE(test::mentions(r.said, kUp)) << r.said;
  EXPECT_TRUE(test::mentions(r.said, what)) << r.said;
  EXPECT_EQ(std::count_if(r.remarks.begin(), r.remarks.end(),
                          [&](const std::string& remark) { return remark.starts_with(kUp); }),
            1);
}

TEST(SmallWeights, AreSaidToBeRoundedAway) {
  const FloatModel lost = with_scaled(kUp, 0x1p-24f), coarse = with_scaled(kUp, 0x1p-14f);
  for (const char* type : {"Q8_0", "Q4_K-pure", "Q6_K-pure", "IQ2_XXS-pure", "NVFP4-pure"})
    expect_said(lost.job(std::string("llama.cpp-cpu:") + type), "is 0, and so are all weights; choose a type that");
  for (const char* target : {"awq:w4-g32", "transformers-gptq:w4-g32"})
    expect_said(lost.job(target), "is 0, and so are all weights; choose a target that");
  for (const char* target : {"vllm:w8a8", "vllm:w4a16-g32", "vllm:fp8-block"})
    expect_said(lost.job(target, "float16"), "is 0, and so are all weights; give --dtype bfloat16");
  expect_said(coarse.job("llama.cpp-cpu:Q8_0"), "has few bits left");
  expect_said(coarse.job("llama.cpp-cpu:F16"), "which F16 rounds coarsely");
  CompressOptions calibrated = lost.job("llama.cpp-cpu:Q8_0");
  calibrate(calibrated, "gptq");
  expect_said(calibrated, "is 0, and so are all weights");
}

TEST(SmallWeights, AreNothingToSayOfWhereTheyAreKept) {
  const FloatModel small = with_scaled(kUp, 0x1p-24f), ordinary, zero = with_scaled(kUp, 0);
  for (const char* target : {"llama.cpp-cpu:MXFP4-pure", "llama.cpp-cpu:BF16", "vllm:w8a8", "vllm:fp8-block"})
    EXPECT_EQ(times(run(small.job(target, "bfloat16")).said, "the largest weight is"), 0u) << target;
  for (const FloatModel* m : {&ordinary, &zero})
    for (const char* target : {"llama.cpp-cpu:Q8_0", "llama.cpp-cpu:Q6_K-pure", "llama.cpp-cpu:IQ1_M",
                               "llama.cpp-cpu:NVFP4-pure", "llama.cpp-cpu:F16", "awq:w4-g32", "vllm:fp8"})
      EXPECT_EQ(times(run(m->job(target, "float16")).said, "the largest weight is"), 0u) << target;
}

}  // namespace
}  // namespace kerf
