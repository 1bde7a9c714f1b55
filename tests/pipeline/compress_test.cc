// From the embedded model to packed files and back, end to end.
#include "pipeline/runs/compress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "formats/container.h"
#include "pipeline/runs/eval_run.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

CompressOptions job(const fs::path& out, std::vector<std::string> targets) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = std::move(targets);
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 128, .windows = 4};
  o.out = out;
  return o;
}

// The embedded model in a folder of its own, for tests that change it.
void copy_model(const fs::path& to) {
  for (const auto& entry : fs::directory_iterator(test::example_dir()))
    fs::copy(entry.path(), to / entry.path().filename());
}

std::string refusal(const CompressOptions& o, ErrorKind kind) {
  return test::refusal([&] { compress(o); }, kind);
}

TEST(Compress, NeverWritesIntoTheFolderOfItsSource) {
  test::TempDir dir;
  copy_model(dir.path());
  const std::string before = read_text(dir / "model.safetensors", 1 << 30);
  for (const char* target : {"vllm:w4a16-g32", "llama.cpp-cpu:Q4_0"}) {
    CompressOptions o = job(dir.path(), {target});
    o.model = dir.path();
    o.force = true;
    const std::string said = refusal(o, ErrorKind::usage);
    EXPECT_TRUE(test::mentions(said, "holds the model that is read")) << said;
  }
  EXPECT_EQ(read_text(dir / "model.safetensors", 1 << 30), before);
}

TEST(Compress, RefusesAGateThatNeedsATextBeforeItWrites) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q4_0"});
  o.eval = {};
  o.gate = "bytes<1GB,kl<0.1";
  const std::string said = refusal(o, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(said, "'kl<0.1' needs kl_mean")) << said;
  EXPECT_FALSE(fs::exists(o.out));
}

TEST(Compress, MeasuresEveryTargetOnItsOwnBytes) {
  test::TempDir dir;
  const Report r = compress(job(dir / "out", {"llama.cpp-cpu:Q8_0", "llama.cpp-cpu:Q4_0", "vllm:w4a16-g32"}));
  ASSERT_EQ(r.targets.size(), 3u);
  const auto kl = [&](size_t i) { return r.targets[i].verification->comparison.kl_mean; };
  // Measured on this model: 0.0003, 0.016 and 0.016 over 20 windows of 256 tokens.
  EXPECT_LT(kl(0), 0.001);
  EXPECT_GT(kl(1), 10 * kl(0));
  EXPECT_LT(kl(1), 0.03);
  EXPECT_LT(kl(2), 0.03);
  EXPECT_DOUBLE_EQ(r.targets[0].bpw.body, 8.5);
  EXPECT_DOUBLE_EQ(r.targets[1].bpw.body, 4.5);
  EXPECT_DOUBLE_EQ(r.targets[1].bpw.embedding, 6.5625);  // Q6_K, as llama-quantize types a tied embedding
  EXPECT_DOUBLE_EQ(r.targets[2].bpw.embedding, 16);
  EXPECT_EQ(r.targets[0].verification->sites.size(), 28u);
  for (const SiteError& s : r.targets[1].verification->sites) {
    EXPECT_GT(s.relative, 0.01) << s.name;
    EXPECT_LT(s.relative, 0.25) << s.name;
  }
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
                           "model.safetensors", "README.md"})
    EXPECT_TRUE(fs::exists(dir / "out" / "vllm-w4a16-g32" / name)) << name;
  const auto report = nlohmann::json::parse(read_text(dir / "out" / "kerf-report.json"));
  EXPECT_EQ(report["targets"].size(), 3u);
  EXPECT_EQ(report["differences"].size(), 3u);
  for (const auto& t : report["targets"])
    for (const auto& f : t["files"]) {
      const fs::path file = dir / "out" / f["name"].get<std::string>();
      EXPECT_EQ(fs::file_size(file), f["bytes"]);
      EXPECT_EQ(sha256_of(file), f["sha256"]);
    }
}

TEST(Compress, GivesTheSameBytesForAnyNumberOfThreads) {
  test::TempDir dir;
  std::vector<std::string> hashes;
  for (int n : {1, 2, 3}) {
    set_threads(n);
    CompressOptions o = job(dir / std::to_string(n), {"llama.cpp-cpu:Q4_0", "vllm:w4a16-g32"});
    o.eval.text.clear();
    std::string all;
    for (const TargetResult& t : compress(o).targets)
      for (const FileEntry& f : t.files) all += f.sha256;
    hashes.push_back(all);
  }
  set_threads(0);
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(hashes[0], hashes[2]);
}

TEST(Compress, PredictsTheSameFiguresForAnyNumberOfThreads) {
  test::TempDir dir;
  std::vector<std::string> reports;
  for (int n : {1, 3}) {
    set_threads(n);
    CompressOptions o = job(dir / std::to_string(n), {"llama.cpp-cpu:Q4_0", "vllm:w4a16-g32"});
    o.eval.windows = 2;
    reports.push_back(to_json(compress(o)).dump());
  }
  set_threads(0);
  EXPECT_EQ(reports[0], reports[1]);
}

TEST(Verify, AgreesWithWhatCompressReported) {
  test::TempDir dir;
  const CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q2_K", "llama.cpp-cpu:Q4_0", "vllm:w4a16-g32"});
  const Report made = compress(o);
  const Report seen = verify_run({.packed = dir / "out", .against = o.model, .eval = o.eval});
  ASSERT_EQ(seen.targets.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen.targets[i].target, made.targets[i].target);
    EXPECT_EQ(seen.targets[i].scheme, made.targets[i].scheme);
    EXPECT_EQ(seen.targets[i].verification->comparison.kl_mean, made.targets[i].verification->comparison.kl_mean);
  }
}

TEST(Verify, SeesDamageInThePackedBytes) {
  test::TempDir dir;
  const CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q4_0"});
  const double before = compress(o).targets[0].verification->comparison.kl_mean;
  const fs::path file = dir / "out" / "tinytales-Q4_0.gguf";
  std::string bytes = read_text(file);
  std::fill(bytes.end() - 300'000, bytes.end() - 100'000, '\0');
  write_text(file, bytes);
  const Report seen = verify_run({.packed = dir / "out", .against = o.model, .eval = o.eval});
  EXPECT_GT(seen.targets[0].verification->comparison.kl_mean, 2 * before);
}

TEST(Compress, AGateThatIsMissedIsReported) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q4_0"});
  o.gate = "kl<0.0001,top1>0.5";
  const Report r = compress(o);
  EXPECT_FALSE(r.passed());
  ASSERT_EQ(r.targets[0].gate.missed.size(), 1u);
  EXPECT_FALSE(fs::exists(dir / "out" / "kerf-report.json"));  // publication_test.cc says where it is
}

TEST(Compress, RefusesBeforeAnythingIsWritten) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", {"vllm:w4a16-g96"});
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::unsupported), "g32"));
  o.targets = {"llama.cpp-cpu:Q4_0", "llama.cpp-cpu:q4_0"};
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "twice"));
  o.targets = {"llama.cpp-cpu"};
  o.gate = "speed>3";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "kl"));
  o.gate = "";
  o.method = "magic";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "rtn"));
  o.method = "rtn";
  o.eval.skip_tokens = 1 << 30;
  refusal(o, ErrorKind::bad_input);
  o.eval.skip_tokens = 0;
  o.eval.ctx = 100000;
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "512"));
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(Compress, RefusesAFolderThatIsNotEmptyUnlessForced) {
  test::TempDir dir;
  fs::create_directories(dir / "out");
  write_text(dir / "out" / "precious", "x");
  write_text(dir / "out" / "modelzoo.safetensors", "x");
  write_text(dir / "out" / "model-best-00001-of-00002.safetensors", "x");
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  o.eval.text.clear();
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "--force"));
  o.force = true;
  o.targets = {"vllm:w4a16-g32"};
  EXPECT_NO_THROW(compress(o));
  for (const char* other : {"precious", "modelzoo.safetensors", "model-best-00001-of-00002.safetensors"})
    EXPECT_EQ(read_text(dir / "out" / other), "x");
  o.force = false;
  o.resume = true;
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "is complete"));
  fs::remove(dir / "out" / "kerf-report.json");
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "holds nothing of a calibrated run"));
}

TEST(Compress, WritesShardsOfAtMostTheGivenSizeAndClearsTheFileOfAnEarlierRun) {
  test::TempDir dir;
  struct Case {
    const char *target, *one, *several;
  };
  for (const Case& c : {Case{"vllm:w4a16-g32", "model.safetensors", "model.safetensors.index.json"},
                        Case{"llama.cpp-cpu:Q8_0", "tinytales-Q8_0.gguf", "tinytales-Q8_0-00001-of-00004.gguf"}}) {
    const fs::path out = dir / std::string(c.one);
    CompressOptions o = job(out, {c.target});
    const double whole = compress(o).targets[0].verification->comparison.kl_mean;
    EXPECT_TRUE(fs::exists(out / c.one));
    o.force = true;
    o.shard_bytes = 1'200'000;
    const Report sharded = compress(o);
    EXPECT_FALSE(fs::exists(out / c.one));
    EXPECT_TRUE(fs::exists(out / c.several)) << c.several;
    EXPECT_EQ(sharded.targets[0].verification->comparison.kl_mean, whole);
    o.shard_bytes = 0;
    compress(o);
    EXPECT_FALSE(fs::exists(out / c.several));
  }
}

TEST(Compress, WritesAModelfileForOllama) {
  test::TempDir dir;
  copy_model(dir.path());
  auto config = nlohmann::ordered_json::parse(read_text(dir / "config.json"));
  config["eos_token_id"] = {0, 361};
  write_text(dir / "config.json", config.dump());
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  o.model = dir.path();
  o.eval.text.clear();
  const Report r = compress(o);
  const std::string name = r.targets[0].files[0].name, text = read_text(dir / "out" / "Modelfile");
  EXPECT_TRUE(test::mentions(text, "FROM ./" + name + "\n")) << text;
  const auto reader = open_container(dir / "out" / name);
  const std::string token = (*reader->get_array<std::string>("tokenizer.ggml.tokens"))[361];
  EXPECT_TRUE(test::mentions(text, "PARAMETER stop \"" + token + "\"\n")) << text;
  EXPECT_FALSE(test::mentions(text, "endoftext")) << "the GGUF names it as its end";
  o.force = true;
  o.shard_bytes = 1'000'000;
  compress(o);
  EXPECT_FALSE(fs::exists(dir / "out" / "Modelfile")) << "Ollama does not read several files";
}

TEST(Compress, NamesTheTensorAndIndexOfNaN) {
  test::TempDir dir;
  copy_model(dir.path());
  std::string bytes = read_text(dir / "model.safetensors");
  bytes[bytes.size() - 2] = '\xc0';  // the last BF16 becomes NaN
  bytes[bytes.size() - 1] = '\x7f';
  write_text(dir / "model.safetensors", bytes);
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  o.model = dir.path();
  const std::string said = refusal(o, ErrorKind::numerical);
  EXPECT_TRUE(test::mentions(said, "model.")) << said;
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(Compress, RefusesASourceThatIsAlreadyQuantized) {
  test::TempDir dir;
  CompressOptions o = job(dir / "a", {"vllm:w4a16-g32"});
  o.eval.text.clear();
  compress(o);
  o.model = dir / "a";
  o.out = dir / "b";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::unsupported), "already quantized"));
}

TEST(Compress, RefusesATruncatedCheckpoint) {
  test::TempDir dir;
  copy_model(dir.path());
  fs::resize_file(dir / "model.safetensors", 1'000'000);
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  o.model = dir.path();
  refusal(o, ErrorKind::bad_input);
}

TEST(Eval, ReproducesThePerplexityThatTransformersMeasured) {
  const EvalResult r = eval_run({.model = test::example_dir(),
                                 .eval = {.text = test::example_dir() / "heldout.txt", .ctx = 256, .windows = 100}});
  EXPECT_NEAR(r.perplexity.ppl, 6.109, 0.0006);  // the figure is given to three decimals
}

TEST(Eval, ReproducesThePerplexityOfTheStoriesModels) {
  const auto data = test::data_dir();
  if (!data) GTEST_SKIP() << "the folder of real inputs is not here (KERF_DATA)";
  const fs::path text = *data / "text" / "tinystories.txt";
  const auto ppl = [&](const char* model, int64_t skip) {
    return eval_run({.model = *data / "models" / model, .eval = {.text = text, .windows = 30, .skip_tokens = skip}})
        .perplexity.ppl;
  };
  EXPECT_NEAR(ppl("stories15M", 0), 5.097, 0.0006);
  EXPECT_NEAR(ppl("stories260K", 0), 4.608, 0.0006);
}

TEST(Eval, ThePackedModelWithoutActivationRoundingIsNearerToItsSource) {
  test::TempDir dir;
  const CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  compress(o);
  VerifyOptions v{.packed = dir / "out", .against = o.model, .eval = o.eval};
  const double with = verify_run(v).targets[0].verification->comparison.kl_mean;
  v.numerics = VerifyMode::float32;
  EXPECT_LT(verify_run(v).targets[0].verification->comparison.kl_mean, with);
}

TEST(Runtime, SettingsOfLlamaCppChangeTheFiguresAndTheReportNamesThem) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0"});
  o.eval.windows = 1;
  const Report made = compress(o);
  EXPECT_EQ(to_text(made.targets[0].runtime), "flash attention on, key/value cache f16");
  EXPECT_TRUE(test::mentions(to_table(made), "llama.cpp-cpu: flash attention on, key/value cache f16"));
  EXPECT_TRUE(test::mentions(read_text(dir / "out" / "README.md"), "flash attention on, key/value cache f16"));
  const auto kl = [&](RuntimeSettings settings) {
    VerifyOptions v{.packed = dir / "out", .against = o.model, .eval = o.eval};
    v.eval.runtime = std::move(settings);
    const Report r = verify_run(v);
    const auto runtime = to_json(r).at("targets").at(0).at("runtime");
    EXPECT_EQ(runtime.at("flash_attention"), v.eval.runtime.flash_attention.value_or(true) ? "on" : "off");
    EXPECT_EQ(runtime.at("kv_cache"), v.eval.runtime.kv_cache.empty() ? "f16" : v.eval.runtime.kv_cache);
    return r.targets[0].verification->comparison.kl_mean;
  };
  const double by_default = made.targets[0].verification->comparison.kl_mean;
  EXPECT_EQ(kl({.flash_attention = true, .kv_cache = "f16"}), by_default);
  EXPECT_EQ(kl({.kv_cache = "f32"}), by_default) << "with flash attention it is rounded to F16 when it is read";
  EXPECT_NE(kl({.flash_attention = false}), by_default);
  const double q8_0 = kl({.kv_cache = "q8_0"});
  EXPECT_NE(q8_0, by_default);
  EXPECT_GT(kl({.kv_cache = "q4_0"}), 2 * q8_0);

  // What compress is told, it measures with, and says so where it is asked again.
  o.out = dir / "again";
  o.eval.runtime.kv_cache = "q8_0";
  const Report again = compress(o);
  EXPECT_EQ(again.targets[0].verification->comparison.kl_mean, q8_0);
  EXPECT_EQ(recipe_from_json(to_json(again).at("recipe")).eval.runtime.kv_cache, "q8_0");
  EXPECT_EQ(eval_run({.model = dir / "again", .eval = o.eval}).runtime.kv_cache, "q8_0");
}

TEST(Runtime, SettingsThatNothingIsComputedWithAreRefused) {
  test::TempDir dir;
  CompressOptions o = job(dir / "out", {"llama.cpp-cpu:Q8_0", "vllm:w4a16-g32"});
  o.eval.runtime.kv_cache = "q8_0";
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "--kv-cache is no setting of vllm"));
  o.eval.runtime = {.flash_attention = false};
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "--flash-attention is no setting of vllm"));
  EXPECT_FALSE(fs::exists(dir / "out"));
  o.targets = {"llama.cpp-cpu:Q8_0"};
  o.eval.runtime = {.kv_cache = "q9_0"};
  EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::usage), "f16, f32, q8_0, q4_0"));

  const auto eval = [&](VerifyMode mode) {
    return test::refusal(
        [&] {
          eval_run({.model = o.model, .eval = {.text = o.eval.text, .runtime = {.kv_cache = "f16"}}, .numerics = mode});
        },
        ErrorKind::usage);
  };
  EXPECT_TRUE(test::mentions(eval(VerifyMode::runtime), "full-precision checkpoint"));
  o.eval = {.text = o.eval.text, .ctx = 16, .windows = 1};
  compress(o);
  VerifyOptions v{.packed = dir / "out", .against = o.model, .eval = o.eval, .numerics = VerifyMode::float32};
  v.eval.runtime.flash_attention = false;
  EXPECT_TRUE(test::mentions(test::refusal([&] { verify_run(v); }, ErrorKind::usage), "--arithmetic float32"));
}

TEST(Compress, SharesOutASizeToTheByte) {
  test::TempDir dir;
  CompressOptions o = job(dir / "bytes", {"llama.cpp-cpu"});
  o.method = "gptq";
  o.calib = {.text = test::example_dir() / "heldout.txt", .windows = 8, .ctx = 128};
  o.bytes = 2'200'000;
  const Report r = compress(o);
  uint64_t size = 0;
  for (const auto& entry : fs::directory_iterator(o.out))
    if (entry.path().extension() == ".gguf") size += entry.file_size();
  EXPECT_LE(size, o.bytes);
  EXPECT_GT(size, o.bytes * 98 / 100);
  ASSERT_TRUE(r.targets[0].allocation);
  EXPECT_EQ(r.targets[0].allocation->bytes, size);
  EXPECT_EQ(r.recipe->overrides.size(), 29u);  // the embedding and 4 blocks of 7 matrices

  CompressOptions rate = o;
  rate.out = dir / "bpw";
  rate.bytes = 0;
  rate.bpw = 8 * 2.2e6 / static_cast<double>(r.parameters);
  EXPECT_EQ(compress(rate).targets[0].allocation->sites, r.targets[0].allocation->sites);
}

}  // namespace
}  // namespace kerf
