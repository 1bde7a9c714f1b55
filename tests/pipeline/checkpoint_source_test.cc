// Checkpoints whose parts say different things, compressed: what the written files say, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/ggml_type.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/repack.h"
#include "targets/target.h"
#include "tests/support/refusal.h"
#include "tests/support/small_checkpoint.h"
#include "verify/artifact.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;
using test::SmallCheckpoint;

constexpr const char* kHead = "lm_head.weight";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";

// With the embedded model's tokenizer, which a GGUF needs.
struct Model {
  explicit Model(SmallCheckpoint c = {}) {
    const auto rows = static_cast<int64_t>(json::parse(read_text(test::example_dir() / "config.json"))["vocab_size"]);
    for (const char* name : {"model.embed_tokens.weight", "embed_tokens.weight", "module.model.embed_tokens.weight"})
      if (c.tensors.contains(name)) c.add(name, {rows, SmallCheckpoint::kHidden}, 77);
    if (c.tensors.contains(kHead)) c.add(kHead, {rows, SmallCheckpoint::kHidden}, 78);
    c.config["vocab_size"] = rows;
    c.write(dir / "model");
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy(test::example_dir() / name, dir / "model" / name);
  }
  CompressOptions job(const std::string& target) const {
    CompressOptions o;
    o.model = dir / "model";
    o.targets = {target};
    o.out = dir / "out";
    o.force = true;
    return o;
  }
  json config() const { return json::parse(read_text(dir / "out" / "config.json")); }
  test::TempDir dir;
};

TEST(Source, WithAHeadOfItsOwnIsWrittenUntied) {
  SmallCheckpoint c;
  c.add(kHead, {64, 256}, 1);
  const Model m(c);
  for (const char* target : {"vllm:w4a16-g32", "transformers-gptq:w4-g32", "awq:w4-g32"}) {
    const Report r = compress(m.job(target));
    ASSERT_EQ(r.targets[0].remarks.size(), 1u) << target;
    EXPECT_TRUE(test::mentions(r.targets[0].remarks[0], "tie_word_embeddings"));
    EXPECT_EQ(m.config()["tie_word_embeddings"], false);
    const Artifact out = open_artifact(m.dir / "out");
    EXPECT_FALSE(out.architecture.tied);
    EXPECT_NE(out.weights->find(kHead), nullptr);
  }
  compress(m.job("llama.cpp-cpu:Q8_0"));
  EXPECT_FALSE(open_artifact(m.dir / "out" / "model-Q8_0.gguf").architecture.tied);
}

TEST(Source, OfABaseModelIsWrittenAsTheCausalOne) {
  SmallCheckpoint c;
  c.rename([](const std::string& name) { return name.substr(6); });
  c.config["architectures"] = {"LlamaModel"};
  const Model m(c);
  compress(m.job("vllm:w4a16-g32"));
  EXPECT_EQ(m.config()["architectures"], json({"LlamaForCausalLM"}));
  EXPECT_NE(open_container(m.dir / "out")->find("model.embed_tokens.weight"), nullptr);
}

TEST(Source, WithNumbersThatJsonHasNotKeepsThem) {
  SmallCheckpoint c;
  const Model m(c);
  std::string config = read_text(m.dir / "model" / "config.json");
  config.insert(1, "\"a_limit\": [0.0, Infinity], \"b\": NaN, ");
  fs::remove(m.dir / "model" / "config.json");
  write_text(m.dir / "model" / "config.json", config);
  compress(m.job("vllm:w4a16-g32"));
  const std::string written = read_text(m.dir / "out" / "config.json");
  EXPECT_TRUE(test::mentions(written, "Infinity\n"));
  EXPECT_TRUE(test::mentions(written, "\"b\": NaN"));

  config.insert(1, "\"rope_theta\": NaN, ");
  fs::remove(m.dir / "model" / "config.json");
  write_text(m.dir / "model" / "config.json", config);
  const std::string said = test::refusal([&] { open_artifact(m.dir / "model"); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "\"rope_theta\" must be a finite number, not NaN")) << said;
}

// Moves what config.json says of the quantization into a file of its own.
json take_out(const fs::path& folder) {
  json config = json::parse(read_text(folder / "config.json"));
  const json quantization = config["quantization_config"];
  config.erase("quantization_config");
  for (const char* name : {"config.json", "quantize_config.json", "quant_config.json"}) fs::remove(folder / name);
  write_text(folder / "config.json", config.dump());
  return quantization;
}

TEST(Source, OfOldGptqToolsIsReadByItsOwnConfigFile) {
  SmallCheckpoint c;
  c.config["torch_dtype"] = "float16";  // the type of GPTQ's scales, so that they can be repacked
  const Model m(c);
  compress(m.job("transformers-gptq:w4-g32"));
  const fs::path folder = m.dir / "out";
  json quantization = take_out(folder);
  const std::string said = test::refusal([&] { open_artifact(folder); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "q_proj.qweight")) << said;
  quantization.erase("quant_method");
  write_text(folder / "quantize_config.json", quantization.dump());
  const Artifact a = open_artifact(folder);
  EXPECT_EQ(a.format, "gptq");
  EXPECT_EQ(a.weights->weight(kDown)->scheme, "w4-g32");
  RepackOptions o;
  o.packed = folder;
  o.target = "vllm";
  o.out = m.dir / "again";
  repack(o);
  EXPECT_EQ(open_artifact(o.out).format, "compressed-tensors");
}

TEST(Source, OfAutoAwqIsReadByItsOwnConfigFile) {
  const Model m;
  compress(m.job("awq:w4-g32"));
  const fs::path folder = m.dir / "out";
  (void)take_out(folder);
  write_text(folder / "quant_config.json",
             R"({"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"})");
  EXPECT_EQ(open_artifact(folder).format, "awq");
}

TEST(Source, WithALeftoverQuantizeConfigIsACheckpoint) {
  const Model m;
  write_text(m.dir / "model" / "quantize_config.json", R"({"bits": 4})");
  EXPECT_EQ(open_artifact(m.dir / "model").format, "checkpoint");
}

bool all_finite(const Artifact& a) {
  for (const TensorInfo& t : a.weights->tensors()) {
    std::vector<float> values(static_cast<size_t>(t.elements()));
    a.weights->read(t, 0, values);
    for (const float v : values)
      if (!std::isfinite(v)) return false;
  }
  return true;
}

// Compressed, or refused with the tensor's name: nothing that decodes to infinity is written.
void expect_finite_or_refused(const Model& m, const std::string& target, bool* refused) {
  SCOPED_TRACE(target);
  *refused = false;
  CompressOptions o = m.job(target);
  fs::remove_all(o.out);
  try {
    compress(o);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::numerical) << e.what();
    EXPECT_TRUE(test::mentions(e.what(), kDown)) << e.what();
    EXPECT_FALSE(fs::exists(o.out / "config.json"));
    *refused = true;
    return;
  }
  fs::path folder = o.out;
  EXPECT_TRUE(all_finite(open_artifact(folder)));
}

Model with_one(float value, const char* dtype) {
  SmallCheckpoint c;
  c.put(kDown, {256, 256}, c.values(kDown), Dtype::f32);
  c.set_one(kDown, 1000, value);
  c.config["torch_dtype"] = dtype;
  return Model(c);
}

TEST(LargeWeights, AreRefusedWhereTheRuntimeDecodesToHalves) {
  bool refused = false;
  const Model halves = with_one(1e5f, "float16"), floats = with_one(1e5f, "float32"), fits = with_one(6e4f, "float16");
  for (const char* target : {"transformers-gptq:w4-g32", "transformers-gptq:w8-channel-asym", "awq:w4-g32"})
    for (const Model* m : {&halves, &floats}) {
      expect_finite_or_refused(*m, target, &refused);
      EXPECT_TRUE(refused) << target;
    }
  expect_finite_or_refused(halves, "vllm:w4a16-g32", &refused);
  EXPECT_TRUE(refused);
  expect_finite_or_refused(floats, "vllm:w4a16-g32", &refused);
  EXPECT_FALSE(refused);
  for (const char* target : {"transformers-gptq:w4-g32", "awq:w4-g32", "vllm:w4a16-g32"}) {
    expect_finite_or_refused(fits, target, &refused);
    EXPECT_FALSE(refused) << target;
  }
}

TEST(LargeWeights, AreFiniteOrRefusedInEveryTypeOfGguf) {
  const Target& target = find_target("llama.cpp-cpu");
  for (const float value : {1e5f, -1e9f}) {
    const Model m = with_one(value, "float32");
    int refusals = 0, types = 0;
    for (const GgmlType& type : ggml_types()) {
      const std::string scheme = fmt::format("{}-pure", type.name);
      try {
        (void)target.storage(target.canonical(scheme), {.name = kDown, .out = 256, .in = 256}, Dtype::f32);
      } catch (const Error&) {
        continue;  // a type that kerf does not write
      }
      bool refused = false;
      expect_finite_or_refused(m, "llama.cpp-cpu:" + scheme, &refused);
      refusals += refused;
      ++types;
    }
    EXPECT_GT(types, 20);
    EXPECT_GT(refusals, value < -1e8 ? 10 : 0);
    EXPECT_LT(refusals, types);  // F32 and BF16 hold them
  }
}

TEST(LargeWeights, AreRefusedBeforeACalibratedRunBegins) {
  const Model m = with_one(1e5f, "float16");
  CompressOptions o = m.job("transformers-gptq:w4-g32");
  o.calib.text = test::example_dir() / "calibration.txt";
  o.calib.ctx = 32;
  o.calib.windows = 2;
  o.method = "gptq";
  const std::string said = test::refusal([&] { compress(o); }, ErrorKind::numerical);
  EXPECT_TRUE(test::mentions(said, kDown)) << said;
  EXPECT_TRUE(test::mentions(said, "65504")) << said;
}

}  // namespace
}  // namespace kerf
