// GGUF files and quantized models as what `kerf compress` starts from.
#include "pipeline/runs/source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "formats/gguf.h"
#include "model/arch/decoder.h"
#include "pipeline/repository/hub_companions.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/eval_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

CompressOptions job(const fs::path& model, const fs::path& out, const std::string& target) {
  CompressOptions o;
  o.model = model;
  o.targets = {target};
  o.out = out;
  return o;
}

fs::path gguf_in(const fs::path& folder) { return gguf_model_in(folder, "holds none"); }
std::string bytes_of_file(const fs::path& file) { return read_text(file, uint64_t{1} << 30); }
std::string refusal(const CompressOptions& o, ErrorKind kind) {
  return test::refusal([&] { compress(o); }, kind);
}
bool has_remark(const Report& r, std::string_view part) {
  const auto& remarks = r.targets[0].remarks;
  return std::any_of(remarks.begin(), remarks.end(),
                     [&](const std::string& remark) { return test::mentions(remark, part); });
}

// The embedded model (BF16) as GGUF files of its own numbers.
class GgufSource : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    for (const char* type : {"BF16", "F32", "Q8_0"})
      compress(
          job(test::example_dir(), *dir_ / type, fmt::format("llama.cpp-cpu:{}{}", type, *type == 'Q' ? "" : "-pure")));
  }
  static void TearDownTestSuite() { delete dir_; }

  static fs::path file(const std::string& type) { return gguf_in(*dir_ / type); }

 private:
  static inline test::TempDir* dir_ = nullptr;
};

TEST_F(GgufSource, GivesTheBytesThatTheCheckpointGives) {
  const test::TempDir dir;
  for (const std::string scheme : {"Q4_0", "Q4_K_M", "IQ4_XS"}) {
    compress(job(test::example_dir(), dir / "checkpoint" / scheme, "llama.cpp-cpu:" + scheme));
    const fs::path expected = gguf_in(dir / "checkpoint" / scheme);
    for (const char* type : {"BF16", "F32"}) {
      compress(job(file(type), dir / type / scheme, "llama.cpp-cpu:" + scheme));
      const fs::path made = gguf_in(dir / type / scheme);
      EXPECT_EQ(made.filename(), expected.filename());  // without -BF16
      EXPECT_TRUE(bytes_of_file(made) == bytes_of_file(expected)) << type << " " << scheme;
    }
  }
}

TEST_F(GgufSource, CalibratesToTheSameBytes) {
  const test::TempDir dir;
  const auto calibrated = [&](const fs::path& model, const char* name) {
    CompressOptions o = job(model, dir / name, "llama.cpp-cpu:Q4_0");
    o.method = "gptq";
    o.calib = {.text = test::example_dir() / "heldout.txt", .windows = 4, .ctx = 64};
    compress(o);
    return bytes_of_file(gguf_in(o.out));
  };
  EXPECT_TRUE(calibrated(test::example_dir(), "a") == calibrated(file("BF16"), "b"));
}

TEST_F(GgufSource, BesideATokenizerBecomesARepositoryOfTheHub) {
  const test::TempDir dir;
  const fs::path model = dir / "model";
  fs::create_directories(model);
  fs::copy_file(file("BF16"), model / "tinytales-BF16.gguf");
  CompressOptions o = job(model, dir / "out", "vllm:w4a16-g32");
  const std::string said = refusal(o, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "no tokenizer.json beside it")) << said;
  EXPECT_FALSE(fs::exists(o.out));

  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::example_dir() / name, model / name);
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 1};
  const Report r = compress(o);
  CompressOptions direct = o;
  direct.model = test::example_dir();
  direct.out = dir / "direct";
  const Report d = compress(direct);
  EXPECT_EQ(r.model, "tinytales");
  EXPECT_EQ(r.targets[0].verification->comparison.kl_mean, d.targets[0].verification->comparison.kl_mean);
  EXPECT_TRUE(bytes_of_file(o.out / "model.safetensors") == bytes_of_file(direct.out / "model.safetensors"));
  const json config = json::parse(read_text(o.out / "config.json")),
             expected = json::parse(read_text(direct.out / "config.json"));
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["rms_norm_eps"], expected["rms_norm_eps"]);
  EXPECT_EQ(config["quantization_config"], expected["quantization_config"]);
  for (const char* key : {"hidden_size", "num_key_value_heads", "tie_word_embeddings", "vocab_size", "eos_token_id"})
    EXPECT_EQ(config[key], expected[key]) << key;

  // A tokenizer of another model.
  std::string tokenizer = read_text(model / "tokenizer.json");
  json changed = json::parse(tokenizer);
  auto& vocab = changed["model"]["vocab"];
  const std::string name = std::next(vocab.begin(), 100).key();
  const int id = vocab[name];
  vocab.erase(name);
  vocab["somethingelse"] = id;
  std::erase_if(changed["model"]["merges"].get_ref<json::array_t&>(), [&](const json& m) {
    return m.is_string() ? test::mentions(m.get<std::string>(), name) : test::mentions(m.dump(), name);
  });
  write_text(model / "tokenizer.json", changed.dump());
  o.out = dir / "again";
  const std::string other = refusal(o, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(other, "is of another model: token")) << other;
}

TEST_F(GgufSource, CarriesEveryEndOfATextToTheHub) {
  const test::TempDir dir;
  const fs::path model = dir / "model";
  fs::create_directories(model);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::example_dir() / name, model / name);
  const auto with_keys = [&](const std::vector<std::pair<std::string, uint32_t>>& keys) {
    const auto reader = open_container(file("BF16"));
    FilePlan plan{.metadata = reader->metadata()};
    for (const StoredTensor& t : reader->tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
    for (const auto& [key, id] : keys) plan.metadata.emplace_back(key, id);
    const auto writer = find_container("gguf").create(model / "m.gguf", plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) writer->write(i, 0, reader->tensors()[i].bytes);
    writer->commit();
  };
  const auto made = [&](const std::string& target) {
    CompressOptions o = job(model, dir / "out", target);
    o.force = true;
    compress(o);
    EXPECT_EQ(json::parse(read_text(o.out / "config.json"))["eos_token_id"], 0);
    const fs::path file = o.out / "generation_config.json";
    return fs::exists(file) ? json::parse(read_text(file)) : json();
  };
  with_keys({});
  EXPECT_EQ(made("vllm:w4a16-g32"), json()) << "config.json says it all";
  with_keys({{"tokenizer.ggml.eot_token_id", 2}, {"tokenizer.ggml.eom_token_id", 5}});
  for (const char* target : {"vllm:w4a16-g32", "awq", "transformers-gptq:w4-g32"}) {
    const json generation = made(target);
    EXPECT_EQ(generation["eos_token_id"], json({0, 2, 5})) << target;
    EXPECT_EQ(generation["bos_token_id"], 0) << target;
    EXPECT_EQ(open_artifact(dir / "out").tokenizer().ends, (std::vector<int32_t>{2, 5})) << target;
  }
  // One of the original model stays, and gets what it lacks.
  write_text(model / "generation_config.json", R"({"temperature": 0.6, "eos_token_id": [0, 2, 5, 7]})");
  EXPECT_EQ(made("awq")["eos_token_id"], json({0, 2, 5, 7}));
  EXPECT_EQ(read_text(dir / "out" / "generation_config.json"), read_text(model / "generation_config.json"));
  write_text(model / "generation_config.json",
             R"({"_from_model_config": true, "temperature": 0.6, "eos_token_id": 0})");
  const json completed = made("awq");
  EXPECT_EQ(completed["eos_token_id"], json({0, 2, 5}));
  EXPECT_EQ(completed["temperature"], 0.6);
  EXPECT_FALSE(completed.contains("_from_model_config"));
}

TEST_F(GgufSource, KeepsTheTokenizerAndTheWordsOfTheFile) {
  const test::TempDir dir;
  const auto reader = open_container(file("BF16"));
  FilePlan plan{.metadata = reader->metadata()};
  for (const StoredTensor& t : reader->tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
  for (auto& [key, value] : plan.metadata)
    if (key == "general.name") value = std::string("Tiny Tales");
  plan.metadata.emplace_back("general.license", std::string("mit"));
  plan.metadata.emplace_back("general.quantized_by", std::string("somebody"));
  plan.metadata.emplace_back("tokenizer.ggml.eot_token_id", uint32_t{3});
  const auto writer = find_container("gguf").create(dir / "t-bf16.gguf", plan);
  for (size_t i = 0; i < plan.tensors.size(); ++i) writer->write(i, 0, reader->tensors()[i].bytes);
  writer->commit();
  compress(job(dir / "t-bf16.gguf", dir / "out", "llama.cpp-cpu:Q8_0"));
  const auto made = open_container(gguf_in(dir / "out"));
  EXPECT_EQ(made->path().filename(), "t-Q8_0.gguf");
  EXPECT_EQ(*made->get<std::string>("general.name"), "Tiny Tales");
  EXPECT_EQ(*made->get<std::string>("general.license"), "mit");
  EXPECT_EQ(*made->get<uint32_t>("tokenizer.ggml.eot_token_id"), 3u);
  EXPECT_EQ(*made->get<uint32_t>("general.file_type"), 7u);
  EXPECT_FALSE(made->find_metadata("general.quantized_by"));
}

TEST_F(GgufSource, ThatIsQuantizedNeedsToBeAskedFor) {
  const test::TempDir dir;
  CompressOptions o = job(file("Q8_0"), dir / "out", "llama.cpp-cpu:Q4_0");
  const std::string said = refusal(o, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "already quantized")) << said;
  EXPECT_TRUE(test::mentions(said, "mostly Q8_0")) << said;
  EXPECT_TRUE(test::mentions(said, "--requantize")) << said;

  o.requantize = true;
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 2};
  const Report r = compress(o);
  EXPECT_TRUE(has_remark(r, "was quantized already (GGUF, mostly Q8_0)"));
  EXPECT_TRUE(r.recipe->requantize);
  EXPECT_EQ(gguf_in(o.out).filename(), "tinytales-Q8_0-Q4_0.gguf");
  // The reference is the file's own numbers.
  const EvalResult own = eval_run({.model = file("Q8_0"), .eval = o.eval, .numerics = VerifyMode::float32});
  EXPECT_NEAR(r.targets[0].verification->comparison.ppl_reference, own.perplexity.ppl, 1e-9);
  const json report = json::parse(read_text(o.out / "kerf-report.json"));
  EXPECT_EQ(report["recipe"]["requantize"], true);
}

TEST(QuantizedSource, OfTheHubIsDecodedWhenAskedFor) {
  const test::TempDir dir;
  for (const std::string target : {"transformers-gptq:w4-g32", "awq", "vllm:w8a8", "vllm:w4a16-g32"}) {
    const fs::path packed = dir / target;
    compress(job(test::example_dir(), packed, target));
    CompressOptions o = job(packed, dir / (target + "-again"), "llama.cpp-cpu:Q8_0");
    EXPECT_TRUE(test::mentions(refusal(o, ErrorKind::unsupported), "--requantize"));
    o.requantize = true;
    o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 1};
    const Report r = compress(o);
    EXPECT_LT(r.targets[0].verification->comparison.kl_mean, 0.001) << target;
    EXPECT_TRUE(has_remark(r, "was quantized already")) << target;
    // Into a repository of the hub: nothing of the old quantization is left.
    o.targets = {"vllm:w8a16-g32"};
    o.out = dir / (target + "-vllm");
    compress(o);
    const json config = json::parse(read_text(o.out / "config.json"));
    EXPECT_EQ(config["quantization_config"]["quant_method"], "compressed-tensors");
    EXPECT_FALSE(fs::exists(o.out / "quantize_config.json"));
  }
}

TEST(NameWithoutType, DropsOnlyWhatSaysTheType) {
  EXPECT_EQ(name_without_type("SmolLM2-135M-F16"), "SmolLM2-135M");
  EXPECT_EQ(name_without_type("x.bf16"), "x");
  EXPECT_EQ(name_without_type("x_FP32"), "x");
  EXPECT_EQ(name_without_type("x-F16-pure"), "x");
  EXPECT_EQ(name_without_type("x-Q4_0"), "x-Q4_0");
  EXPECT_EQ(name_without_type("BF16"), "BF16");
}

// rope_freqs.weight of a GGUF, in words of a config.json.
TEST(ConfigOfAGguf, SaysLlama3WhereTheFactorsAreOfItAndIsRefusedForOthers) {
  Artifact a = open_artifact(test::example_dir());
  a.format = kGgufFormat;
  Rope* rope = nullptr;
  const auto set = [&](const std::vector<float>& divisors) {
    for (Op& op : a.architecture.kinds[0])
      if (Rope* r = std::get_if<Rope>(&op.what)) {
        rope = r;
        r->table.divisors = divisors;
      }
  };
  set({});
  Rope llama3 = *rope;
  llama3.table.scaling = RopeScaling::llama3;
  llama3.table.factor = 32;
  llama3.table.theta = rope->table.theta;
  set(llama3.divisors());
  const auto said = config_of(a)["rope_scaling"];
  EXPECT_EQ(said["rope_type"], "llama3");
  EXPECT_EQ(said["factor"], 32);
  EXPECT_EQ(said["original_max_position_embeddings"], 8192);
  std::vector<float> other = llama3.divisors();
  other[1] *= 1.5F;
  set(other);
  EXPECT_TRUE(test::mentions(test::refusal([&] { config_of(a); }, ErrorKind::unsupported), "rope_freqs.weight"));
}

}  // namespace
}  // namespace kerf
