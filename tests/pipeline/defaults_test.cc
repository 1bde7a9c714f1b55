// What kerf decides by itself and says: the group of a scheme that names none, the dtype of a float32 model, what a run
// with a size in bytes is called, and that a dry run's bytes are those that are written.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/repack.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "tests/support/small_model.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

void tiny(ordered_json& config) { test::set_shape(config, {64, 128, 2, 1, 32, 2}); }

CompressOptions job(const fs::path& model, const fs::path& out, std::vector<std::string> targets) {
  CompressOptions o;
  o.model = model;
  o.targets = std::move(targets);
  o.out = out;
  return o;
}

template <class F>
std::string stderr_of(F&& f) {
  testing::internal::CaptureStderr();
  f();
  return testing::internal::GetCapturedStderr();
}

ordered_json json_of(const fs::path& file) { return ordered_json::parse(read_text(file)); }

TEST(DefaultGroup, IsTheLargestThatDividesTheModel) {
  const test::TempDir dir;
  test::write_small_model(dir / "m", test::shape_of_smollm);
  for (const char* target : {"vllm", "awq", "transformers-gptq", "vllm:w8a16"}) {
    const fs::path out = dir / target;
    Report r;
    const std::string said = stderr_of([&] { r = compress(job(dir / "m", out, {target})); });
    EXPECT_TRUE(r.targets[0].scheme.ends_with("-g64")) << r.targets[0].scheme;
    EXPECT_TRUE(test::mentions(said, "do not divide the input widths of this model (576, 1536)")) << said;
    EXPECT_FALSE(test::mentions(said, "warning: " + std::string(target) + ": groups")) << "a note";
    EXPECT_TRUE(test::mentions(read_text(out / "kerf-report.json"), "the default, do not divide"));
    EXPECT_EQ(r.recipe->targets[0], r.targets[0].target + ":" + r.targets[0].scheme)
        << "what was decided is in the recipe";
  }
  // What was asked for is not replaced.
  const std::string said =
      test::refusal([&] { compress(job(dir / "m", dir / "x", {"vllm:w4a16-g128"})); }, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "use g16, g32, g64 or channel")) << said;
  EXPECT_EQ(stderr_of([&] { dry_run(job(test::example_dir(), dir / "y", {"vllm"})); }), "") << "nothing to say";
}

TEST(DefaultGroup, OfAnOverrideIsThatOfTheModel) {
  const test::TempDir dir;
  test::write_small_model(dir / "m", test::shape_of_smollm);
  CompressOptions o = job(dir / "m", dir / "out", {"vllm"});
  o.overrides = {{.sites = {"ffn_down"}, .scheme = "w8a16"}};
  compress(o);
  const ordered_json groups = json_of(dir / "out" / "config.json")["quantization_config"]["config_groups"];
  ASSERT_EQ(groups.size(), 2u);
  for (const auto& [name, group] : groups.items()) EXPECT_EQ(group["weights"]["group_size"], 64);
}

TEST(StoredDtype, OfAFloat32ModelIsTheHalfThatLosesLeast) {
  struct Case {
    const char *name, *dtype, *said;
    std::function<float(float)> value;
  };
  const auto to_bf16 = [](float x) { return bf16_to_f32(f32_to_bf16(x)); };
  const auto to_f16 = [](float x) { return f16_to_f32(f32_to_f16(x)); };
  const Case cases[] = {{"bf16", "bfloat16", "exactly", to_bf16},
                        {"f16", "float16", "exactly", to_f16},
                        {"f32", "float16", "rounds them least", [](float x) { return x; }},
                        {"large", "bfloat16", "has not their range", [](float x) { return x == x ? 1e5f * x : x; }}};
  for (const Case& c : cases) {
    const test::TempDir dir;
    test::write_small_model(dir / "m", tiny, Dtype::f32, c.value);
    std::vector<std::string> targets = {"vllm:w8a8"};
    if (std::string(c.name) != "large") targets.insert(targets.end(), {"awq:w4-g32", "transformers-gptq:w4-g32"});
    for (const std::string& target : targets) {
      const fs::path out = dir / target;
      const std::string said = stderr_of([&] { compress(job(dir / "m", out, {target})); });
      EXPECT_TRUE(test::mentions(said, c.dtype)) << said;
      EXPECT_TRUE(test::mentions(said, c.said)) << said;
      EXPECT_EQ(json_of(out / "config.json")["dtype"], c.dtype);
      const Artifact a = open_artifact(out);
      EXPECT_EQ(torch_name_of(a.weights->find("model.embed_tokens.weight")->dtype), c.dtype);
      EXPECT_EQ(torch_name_of(a.weights->find("model.norm.weight")->dtype), c.dtype);
      EXPECT_EQ(torch_name_of(a.arithmetic.stream), c.dtype) << "the figures follow";
      EXPECT_TRUE(test::mentions(read_text(out / "kerf-report.json"), c.said));
    }
  }
}

TEST(StoredDtype, IsWhatWasAskedFor) {
  const test::TempDir dir;
  test::write_small_model(dir / "m", tiny, Dtype::f32);
  for (const char* dtype : {"bfloat16", "float16", "float32"}) {
    CompressOptions o = job(dir / "m", dir / dtype, {"vllm:w4a16-g32", "llama.cpp-cpu:Q8_0"});
    o.dtype = dtype;
    compress(o);
    EXPECT_EQ(json_of(dir / dtype / "vllm-w4a16-g32" / "config.json")["dtype"], dtype);
    const ordered_json report = json_of(dir / dtype / "kerf-report.json");
    EXPECT_EQ(report["recipe"]["dtype"], dtype);
  }
  CompressOptions o = job(dir / "m", dir / "x", {"awq:w4-g32"});
  o.dtype = "float32";
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "bfloat16 or float16"));
  o.targets = {"llama.cpp-cpu:Q8_0"};
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "as its scheme says"));
  o.targets = {"vllm"};
  o.dtype = "float8";
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "choose auto, bfloat16"));
  // A bfloat16 model keeps its dtype, and nothing is said of it.
  EXPECT_EQ(stderr_of([&] { dry_run(job(test::example_dir(), "", {"vllm"})); }), "");
}

TEST(DryRun, SaysTheBytesThatAreWritten) {
  const test::TempDir dir;
  test::write_small_model(dir / "m", test::shape_of_smollm);
  test::write_small_model(dir / "f32", tiny, Dtype::f32);
  const auto check = [&](CompressOptions o) {
    const RunEstimate e = dry_run(o);
    const Report r = compress(o);
    ASSERT_EQ(e.targets.size(), r.targets.size());
    for (size_t i = 0; i < e.targets.size(); ++i) {
      const TargetResult& t = r.targets[i];
      EXPECT_EQ(e.targets[i].bytes, t.bytes) << t.target << ":" << t.scheme;
      EXPECT_EQ(e.targets[i].target, t.target + ":" + t.scheme);
      EXPECT_DOUBLE_EQ(e.targets[i].bpw.all, t.bpw.all) << t.scheme;
      EXPECT_DOUBLE_EQ(e.targets[i].bpw.body, t.bpw.body) << t.scheme;
      EXPECT_DOUBLE_EQ(e.targets[i].bpw.embedding, t.bpw.embedding) << t.scheme;
      uint64_t files = 0;
      for (const FileEntry& f : t.files)
        if (f.name.ends_with(".safetensors") || f.name.ends_with(".gguf")) files += f.bytes;
      EXPECT_EQ(files, t.bytes);
    }
  };
  check(job(test::example_dir(), dir / "several",
            {"llama.cpp-cpu:Q4_0", "llama.cpp-cpu:IQ2_XXS", "llama.cpp-cpu:Q4_K_M", "vllm", "vllm:w8a8",
             "vllm:fp8-block", "awq", "transformers-gptq:w3"}));
  check(job(dir / "m", dir / "small", {"vllm", "llama.cpp-cpu:Q4_K_M", "transformers-gptq"}));
  check(job(dir / "f32", dir / "halved", {"vllm:w4a16-g32", "awq:w4-g32", "llama.cpp-cpu:F16"}));
  for (const char* target : {"llama.cpp-cpu:Q4_0", "vllm"}) {
    CompressOptions sharded = job(test::example_dir(), dir / "shards" / target, {target});
    fs::create_directories(dir / "shards");
    sharded.shard_bytes = 1'000'000;
    check(sharded);
  }
}

TEST(DryRun, NeedsNoFolderAndSaysTimesAsPeopleDo) {
  const RunEstimate e = dry_run(job(test::example_dir(), "", {"llama.cpp-cpu:Q4_0"}));
  EXPECT_EQ(e.targets[0].bytes, 2'773'152u);
  EXPECT_TRUE(test::mentions(to_table(e), "2,773,152  bytes")) << to_table(e);
  EXPECT_FALSE(test::mentions(to_table(e), " free")) << to_table(e);
  RunEstimate slow = e;
  slow.seconds = 1660;
  EXPECT_TRUE(test::mentions(to_table(slow), "about 28 min")) << to_table(slow);
  CompressOptions o = job(test::example_dir(), "", {"llama.cpp-cpu:Q4_0"});
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "give -o DIR"));
  o.resume = true;
  EXPECT_TRUE(test::mentions(test::refusal([&] { dry_run(o); }, ErrorKind::usage), "give that folder with -o"));
}

TEST(Bytes, AreOfAMixedModelOrOfOneType) {
  const test::TempDir dir;
  CompressOptions o = job(test::example_dir(), dir / "mixed", {"llama.cpp-cpu"});
  o.method = "rtn";
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 1, .ctx = 64};
  o.bytes = 2'500'000;
  const Report r = compress(o);
  EXPECT_EQ(r.targets[0].scheme, "mixed");
  EXPECT_TRUE(test::mentions(to_table(r), "llama.cpp-cpu:mixed"));
  const std::string card = read_text(o.out / "README.md"), report = read_text(o.out / "kerf-report.json");
  EXPECT_TRUE(test::mentions(card, "# tinytales for llama.cpp-cpu:mixed")) << card;
  for (const std::string& text : {card, report}) {
    EXPECT_FALSE(test::mentions(text, "llama.cpp-cpu:" + r.targets[0].allocation->scheme)) << text;
    EXPECT_TRUE(test::mentions(text, "types chosen for " + std::to_string(r.targets[0].bytes) + " bytes: "));
  }
  // The recipe gives the same files under the same name, and a measurement of them calls them so as well.
  CompressOptions again;
  static_cast<Recipe&>(again) = *r.recipe;
  again.model = o.model;
  again.out = dir / "again";
  const Report same = compress(again);
  EXPECT_EQ(same.targets[0].scheme, "mixed");
  EXPECT_EQ(same.targets[0].bytes, r.targets[0].bytes);
  VerifyOptions v;
  v.packed = o.out;
  v.against = o.model;
  v.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 32, .windows = 1};
  EXPECT_EQ(verify_run(v).targets[0].scheme, "mixed");

  test::write_small_model(dir / "m", test::shape_of_smollm);
  o.model = dir / "m";
  o.out = dir / "largest";
  o.bytes = 100'000'000;
  EXPECT_EQ(compress(o).targets[0].scheme, "F16-pure") << "all matrices have one type";
}

TEST(Bytes, AreNoneBesideAScheme) {
  const test::TempDir dir;
  CompressOptions o = job(test::example_dir(), dir / "out", {"llama.cpp-cpu:Q4_K_M"});
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 4, .ctx = 128};
  o.bytes = 2'500'000;
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "llama.cpp-cpu:Q4_K_M names a scheme"));
  o.bytes = 0;
  o.bpw = 4.5;
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { dry_run(o); }, ErrorKind::usage), "llama.cpp-cpu:Q4_K_M names a scheme"));
  o.bpw = 0;
  o.targets = {"llama.cpp-cpu:mixed"};
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "by an override"));
}

// All ways between formats, for models in each dtype: bit for bit, or refused with a way.
TEST(Repack, WritesTheModelInADtypeThatHoldsItsScales) {
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
    const test::TempDir dir;
    // Numbers that all three types hold: of real bfloat16 models float16 may lose the smallest ones (the test below).
    test::write_small_model(dir / "m", tiny, dtype, [](float x) { return std::nearbyint(x * 128) / 128; });
    const std::string in = " of " + std::string(torch_name_of(dtype));
    for (const char* from : {"awq:w4-g32-sym", "transformers-gptq:w4-g32", "vllm:w4a16-g32"}) {
      const fs::path source = dir / from;
      compress(job(dir / "m", source, {from}));
      const Artifact a = open_artifact(source);
      for (const char* to : {"vllm", "awq:w4-g32-sym", "transformers-gptq"}) {
        const fs::path out = dir / (std::string(from) + " to " + to);
        RepackOptions o;
        o.packed = source;
        o.target = to;
        o.out = out;
        const std::string said = stderr_of([&] { repack(o); });
        const Artifact b = open_artifact(out);
        for (int64_t layer = -1; layer < a.architecture.layers(); ++layer)
          for (const ExpectedTensor& t : a.architecture.expected_tensors(layer)) {
            const TensorInfo &x = *a.weights->find(t.name), &y = *b.weights->find(t.name);
            std::vector<float> u(static_cast<size_t>(x.elements())), v(u.size());
            a.weights->read(x, 0, u);
            b.weights->read(y, 0, v);
            if (t.shape.size() == 1 || t.name.find("embed") != t.name.npos) {
              EXPECT_EQ(u, v) << t.name << from << to << in;
            }
          }
        const bool other = a.architecture.dtype != b.architecture.dtype;
        EXPECT_EQ(test::mentions(said, "which holds every number of it"), other) << said << from << to << in;
        if (dtype == Dtype::bf16 && std::string(to) == "vllm" && std::string(from) != "vllm:w4a16-g32") {
          EXPECT_EQ(b.architecture.dtype, Dtype::f16) << from;
        }
      }
    }
  }
}

TEST(Repack, NamesTheWayWhereNoHalfPrecisionHoldsAll) {
  const test::TempDir dir;
  test::write_small_model(dir / "m", tiny, Dtype::bf16, [](float x) { return std::abs(x) < 0.01f ? x * 1e-9f : x; });
  compress(job(dir / "m", dir / "gptq", {"transformers-gptq:w4-g32"}));
  RepackOptions o;
  o.packed = dir / "gptq";
  o.target = "vllm";
  o.out = dir / "ct";
  const std::string said = test::refusal([&] { repack(o); }, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "is no number of BF16")) << said;
  EXPECT_TRUE(test::mentions(said, "--dtype float32")) << said;
  EXPECT_TRUE(test::mentions(said, "compress the original model for vllm")) << said;
  o.dtype = "float32";
  EXPECT_NO_THROW(repack(o));
  EXPECT_EQ(open_artifact(o.out).architecture.dtype, Dtype::f32);
}

}  // namespace
}  // namespace kerf
