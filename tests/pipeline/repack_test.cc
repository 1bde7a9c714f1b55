#include "pipeline/runs/repack.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "formats/container.h"
#include "pipeline/runs/compress.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "verify/artifact.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

fs::path compressed(const test::TempDir& dir, const std::string& target) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {target};
  o.out = dir / "source";
  compress(o);
  return o.out;
}

Repacked repacked(const fs::path& from, const std::string& target, const fs::path& to, uint64_t shard_bytes = 0) {
  RepackOptions o;
  o.packed = from;
  o.target = target;
  o.out = to;
  o.shard_bytes = shard_bytes;
  return repack(o);
}

template <class F>
std::string refusal(F&& f, ErrorKind kind = ErrorKind::unsupported) {
  return test::refusal(f, kind);
}

TEST(Repack, ThereAndBackGivesTheSameFiles) {
  const std::vector<std::vector<std::string>> ways = {
      {"transformers-gptq:w4-g32", "transformers-gptq:w4-g32-v2", "awq", "transformers-gptq"},
      {"transformers-gptq:w4-g64-asym-v2", "awq", "transformers-gptq:w4-g64-asym-v2"},
      {"transformers-gptq:w3-channel-asym", "transformers-gptq:w3-channel-asym-v2", "transformers-gptq"},
      {"vllm:w4a16-g32", "transformers-gptq", "awq:w4-g32-sym", "vllm"},
      {"vllm:w8a16-channel", "transformers-gptq:w8-channel", "vllm"},
      {"awq:w4-channel", "transformers-gptq:w4-channel-asym-v2", "awq"}};
  for (const auto& way : ways) {
    const test::TempDir dir;
    fs::path last = compressed(dir, way[0]);
    for (size_t i = 1; i < way.size(); ++i) {
      const fs::path next = dir / std::to_string(i);
      const Repacked r = repacked(last, way[i], next);
      EXPECT_EQ(r.matrices, 28) << way[i];
      EXPECT_NO_THROW(open_artifact(next)) << way[i];
      last = next;
    }
    for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"})
      EXPECT_EQ(read_text(dir / "source" / name), read_text(last / name)) << way[0] << " " << name;
  }
}

TEST(Repack, MovesTheNumbersUnchanged) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "transformers-gptq:w4-g32-asym");
  repacked(source, "awq", dir / "awq");
  const Artifact a = open_artifact(source), b = open_artifact(dir / "awq");
  const std::string name = "model.layers.2.mlp.down_proj.weight";
  const TensorInfo& info = *a.weights->find(name);
  std::vector<float> x(static_cast<size_t>(info.elements())), y(x.size());
  a.weights->read(info, 0, x);
  b.weights->read(*b.weights->find(name), 0, y);
  EXPECT_EQ(x, y);
  EXPECT_EQ(b.format, "awq");
}

TEST(Repack, PacksAGgufFromItsNumbersToTheSameFile) {
  for (const std::string scheme : {"Q4_1", "Q3_K_M", "IQ2_M", "TQ1_0", "NVFP4"}) {
    const test::TempDir dir;
    const fs::path source = compressed(dir, "llama.cpp-cpu:" + scheme) / ("tinytales-" + scheme + ".gguf");
    const Repacked once = repacked(source, "llama.cpp-cpu", dir / "several", 1'000'000);
    EXPECT_EQ(once.matrices, 29) << scheme;
    EXPECT_EQ(once.choice.scheme, scheme);
    EXPECT_GE(once.files.size(), 2u);
    EXPECT_FALSE(fs::exists(dir / "several" / "Modelfile")) << "Ollama reads one file";
    repacked(once.files.front(), "llama.cpp-cpu:" + scheme, dir / "one");
    EXPECT_EQ(read_text(source), read_text(dir / "one" / source.filename())) << scheme;
    EXPECT_TRUE(fs::exists(dir / "one" / "Modelfile"));
    for (const char* other : {"llama.cpp-cpu:Q8_0", "vllm"})
      EXPECT_TRUE(test::mentions(refusal([&] { repacked(source, other, dir / other); }), other));
  }
}

// 8-bit weights with rounded activations are those of another scheme with plain ones, and another file for a runtime.
TEST(Repack, KeepsTheRoundingOfActivationsOrSaysThatItGoes) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "vllm:w8a8");
  EXPECT_EQ(repacked(source, "vllm", dir / "same").choice.scheme, "w8a8");
  EXPECT_EQ(repacked(source, "vllm:w8a16-channel", dir / "other").choice.scheme, "w8a16-channel");
  const auto report = nlohmann::json::parse(read_text(dir / "other" / "kerf-report.json"));
  EXPECT_TRUE(test::mentions(report["targets"][0]["remarks"].dump(), "rounds activations to 8 bits"));
}

// Metadata that nobody computes with may hold anything.
TEST(Repack, KeepsANanOfTheMetadata) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "llama.cpp-cpu:Q8_0") / "tinytales-Q8_0.gguf";
  FilePlan plan;
  {
    const auto reader = open_container(source);
    plan.metadata = reader->metadata();
    plan.metadata.emplace_back("general.score", std::numeric_limits<float>::quiet_NaN());
    for (const StoredTensor& t : reader->tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
    const auto writer = find_container("gguf").create(dir / "nan.gguf", plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) writer->write(i, 0, reader->tensors()[i].bytes);
    writer->commit();
  }
  repacked(dir / "nan.gguf", "llama.cpp-cpu", dir / "again");
  EXPECT_EQ(read_text(dir / "nan.gguf"), read_text(dir / "again" / "nan.gguf"));
}

TEST(Repack, RefusesBytesThatItWouldNotWrite) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "llama.cpp-cpu:TQ1_0") / "tinytales-TQ1_0.gguf";
  std::string bytes = read_text(source);
  {
    const auto reader = open_container(source);
    const std::span<const std::byte> matrix = reader->find("blk.1.ffn_up.weight")->bytes;
    // Five ternary digits take 243 of the values of a byte; 1 is not among them.
    bytes[bytes.find(std::string(reinterpret_cast<const char*>(matrix.data()), matrix.size()))] = 1;
  }
  write_text(source, bytes);
  const std::string text = refusal([&] { repacked(source, "llama.cpp-cpu", dir / "out"); });
  EXPECT_TRUE(test::mentions(text, "blk.1.ffn_up.weight")) << text;
  EXPECT_FALSE(fs::exists(dir / "out" / "tinytales-TQ1_0.gguf"));
}

TEST(Repack, RefusesWhatWouldNotBeTheSame) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  {
    const test::TempDir source_dir;
    const fs::path three = compressed(source_dir, "transformers-gptq:w3-g128");
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(three, "awq", out); }), "int3"));
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(three, "transformers-gptq:w4-g128", out); }), "int3"));
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(three, "transformers-gptq:w3-g64", out); }), "g128"));
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(three, "llama.cpp-cpu", out); }), "gguf"));
    // F16 scales in a bfloat16 model of compressed-tensors.
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(three, "vllm", out); }), "BF16"));
  }
  {
    const test::TempDir source_dir;
    const fs::path five = compressed(source_dir, "vllm:w5a16-g32");
    EXPECT_TRUE(test::mentions(refusal([&] { repacked(five, "transformers-gptq", out); }), "int5"));
  }
  EXPECT_TRUE(test::mentions(refusal([&] { repacked(test::example_dir(), "awq", out); }), "full-precision"));
  EXPECT_FALSE(fs::exists(out / "config.json"));
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
}

TEST(Repack, RefusesAZeroPointOfZeroInGptqV1) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "transformers-gptq:w4-g128-asym-v2");
  const std::string file = source / "model.safetensors";
  std::string bytes = read_text(file);
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  const auto at = header["model.layers.1.self_attn.k_proj.qzeros"]["data_offsets"][0].get<uint64_t>();
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(8 + length + at), 4, '\0');  // eight outputs
  write_text(file, bytes);
  const std::string said = refusal([&] { repacked(source, "transformers-gptq:w4-g128-asym", dir / "out"); });
  EXPECT_TRUE(test::mentions(said, "zero points below 1")) << said;
  EXPECT_TRUE(test::mentions(said, "layers.1.self_attn.k_proj")) << said;
  EXPECT_NO_THROW(repacked(source, "awq", dir / "awq"));
}

TEST(Repack, KeepsMatricesOfOtherSchemesAndPlainOnes) {
  // One module in 3 bits and one left in plain numbers, moved by hand between repositories of one model.
  const test::TempDir dir, other_dir;
  const fs::path source = compressed(dir, "vllm:w4a16-g32"), other = compressed(other_dir, "vllm:w3a16-g32");
  const std::string three = "model.layers.0.mlp.down_proj.", plain = "model.layers.1.self_attn.q_proj.";
  const auto mixed = dir / "mixed";
  {
    const auto a = open_container(source), b = open_container(other), dense = open_container(test::example_dir());
    FilePlan plan{.metadata = {{"format", std::string("pt")}}};
    std::vector<std::span<const std::byte>> bytes;
    const auto add = [&](const StoredTensor& t) {
      plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
      bytes.push_back(t.bytes);
    };
    for (const StoredTensor& t : a->tensors())
      if (!t.name.starts_with(three) && !t.name.starts_with(plain)) add(t);
    for (const StoredTensor& t : b->tensors())
      if (t.name.starts_with(three)) add(t);
    add(*dense->find(plain + "weight"));
    fs::create_directories(mixed);
    const auto writer = find_container("safetensors").create(mixed, plan);
    for (size_t i = 0; i < bytes.size(); ++i) writer->write(i, 0, bytes[i]);
    writer->commit();
    auto config = nlohmann::ordered_json::parse(read_text(source / "config.json"));
    auto& q = config["quantization_config"];
    q["config_groups"]["group_1"] = q["config_groups"]["group_0"];
    q["config_groups"]["group_1"]["targets"] = {three.substr(0, three.size() - 1)};
    q["config_groups"]["group_1"]["weights"]["num_bits"] = 3;
    write_text(mixed / "config.json", config.dump());
  }
  EXPECT_EQ(repacked(mixed, "transformers-gptq", dir / "gptq").matrices, 27);
  const auto q = nlohmann::json::parse(read_text(dir / "gptq" / "config.json"))["quantization_config"];
  EXPECT_EQ(q["bits"], 4);
  EXPECT_EQ(q["dynamic"].size(), 2u);
  const Artifact there = open_artifact(dir / "gptq");
  EXPECT_EQ(there.weights->weight(three + "weight")->scheme, "w3-g32");
  EXPECT_EQ(there.weights->weight(plain + "weight")->scheme, "");
  repacked(dir / "gptq", "vllm", dir / "back");
  const auto first = open_container(mixed), last = open_container(dir / "back");
  for (const StoredTensor& t : first->tensors()) {
    const StoredTensor* same = last->find(t.name);
    ASSERT_TRUE(same) << t.name;
    EXPECT_TRUE(std::equal(t.bytes.begin(), t.bytes.end(), same->bytes.begin(), same->bytes.end())) << t.name;
  }
  EXPECT_TRUE(test::mentions(refusal([&] { repacked(mixed, "awq", dir / "awq"); }), "int3"));
}

// Widths of 256 and 768: where a group is a whole row it is a group all the same.
TEST(Repack, KeepsGroupsAsWideAsSomeRows) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "vllm:w4a16-g256");
  const Repacked r = repacked(source, "transformers-gptq", dir / "gptq");
  EXPECT_EQ(r.choice.text(), "transformers-gptq:w4-g256");
  const auto q = nlohmann::json::parse(read_text(dir / "gptq" / "config.json"))["quantization_config"];
  EXPECT_EQ(q["group_size"], 256);
  EXPECT_FALSE(q.contains("dynamic")) << q;
  repacked(dir / "gptq", "vllm", dir / "back");
  EXPECT_EQ(read_text(source / "model.safetensors"), read_text(dir / "back" / "model.safetensors"));
  const auto before = nlohmann::json::parse(read_text(source / "config.json")),
             after = nlohmann::json::parse(read_text(dir / "back" / "config.json"));
  EXPECT_EQ(before["quantization_config"]["config_groups"], after["quantization_config"]["config_groups"]);
}

TEST(Repack, RefusesAFolderThatIsNotEmpty) {
  const test::TempDir dir;
  const fs::path source = compressed(dir, "awq:w4-g128");
  EXPECT_TRUE(
      test::mentions(refusal([&] { repacked(source, "transformers-gptq", source); }, ErrorKind::usage), "not empty"));
}

TEST(Compress, NamesRepackForASourceThatIsQuantized) {
  const test::TempDir dir;
  CompressOptions o;
  o.model = compressed(dir, "awq:w4-g128");
  o.targets = {"vllm:w4a16-g128"};
  o.out = dir / "out";
  EXPECT_TRUE(test::mentions(refusal([&] { compress(o); }), "kerf repack"));
}

}  // namespace
}  // namespace kerf
