// The reader of compressed-tensors weights of one byte: what the package packed (goldens/w8/make.py) decodes to what
// the package says, is written alike by the layouts, and damaged files are refused.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "formats/layouts/layout.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "verify/stored.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

fs::path goldens() { return test::source_dir() / "tests" / "verify" / "goldens" / "w8"; }

const json& cases() {
  static const json all = json::parse(read_text(goldens() / "goldens.json"));
  return all;
}

const Reader& golden_reader() {
  static const std::unique_ptr<Reader> reader = find_container("safetensors").open(goldens() / "goldens.safetensors");
  return *reader;
}

StoredWeight read_module(const Reader& reader, const json& golden, const std::string& module) {
  const QuantizedRepository r{reader, golden["quantization_config"], "config.json",
                              *dtype_from_torch_name(golden["dtype"].get<std::string>())};
  for (const StoredFormat* format : all_storeds()) {
    if (!format->recognises(r)) continue;
    for (const StoredTensor& t : reader.tensors())
      if (t.name.starts_with(module + ".") && format->owns(r, t))
        if (auto w = format->weight(r, t)) return std::move(*w);
  }
  fail(ErrorKind::bad_input, "no matrix");
}

TEST(StoredW8, DecodesWhatThePackagePackedToTheSameNumbers) {
  for (const auto& [module, golden] : cases().items()) {
    const StoredWeight w = read_module(golden_reader(), golden, module);
    const StoredTensor* expected = golden_reader().find(module + ".expected");
    ASSERT_EQ(w.info.shape, expected->shape) << module;
    std::vector<float> numbers(static_cast<size_t>(w.info.elements())), mine(numbers.size());
    to_f32(*dtype_from_name(expected->type), expected->bytes, numbers);
    const auto cols = static_cast<size_t>(w.info.cols());
    for (int64_t r = 0; r < w.info.rows(); ++r)
      decode_file_row(w, r, std::span(mine).subspan(static_cast<size_t>(r) * cols, cols));
    EXPECT_EQ(mine, numbers) << module;
  }
}

TEST(StoredW8, IsWrittenByteForByteByTheLayoutThatItNames) {
  for (const auto& [module, golden] : cases().items()) {
    const StoredWeight w = read_module(golden_reader(), golden, module);
    const Layout& layout = find_layout(w.layout);
    const auto plan = layout.plan(w.numbers, w.info.rows(), w.info.cols());
    std::vector<std::span<const std::byte>> parts;
    for (const LayoutTensor& part : plan) {
      const StoredTensor* t = golden_reader().find(module + "." + part.suffix);
      ASSERT_TRUE(t) << module << " " << part.suffix;
      EXPECT_EQ(t->shape, part.shape) << module << " " << part.suffix;
      EXPECT_EQ(t->type, part.type) << module << " " << part.suffix;
      parts.push_back(t->bytes);
    }
    const auto packed = layout.pack(layout.unpack(w.numbers, w.info.rows(), w.info.cols(), parts));
    for (size_t i = 0; i < plan.size(); ++i)
      EXPECT_TRUE(std::equal(packed[i].begin(), packed[i].end(), parts[i].begin(), parts[i].end())) << module;
  }
}

TEST(StoredW8, NamesTheSchemeAndBothRules) {
  const auto scheme = [](const char* module) {
    return read_module(golden_reader(), cases().at(module), module).scheme;
  };
  EXPECT_EQ(scheme("int_channel_bfloat16"), "w8a8");
  EXPECT_EQ(scheme("float_channel_bfloat16"), "fp8");
  EXPECT_EQ(scheme("float_tensor_bfloat16"), "fp8-tensor");
  EXPECT_EQ(scheme("float_block_bfloat16"), "fp8-block");
  const StoredWeight w = read_module(golden_reader(), cases().at("int_channel_float16"), "int_channel_float16");
  EXPECT_EQ(w.gemm->format, "ct-w8a8");
  EXPECT_EQ(w.vllm->format, "vllm-w8a8");
}

struct Tensor {
  std::string type;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
using Tensors = std::map<std::string, Tensor>;  // by their suffix

// A golden with changed tensors and config is refused.
void refused(const std::string& module, ErrorKind kind, std::string_view mentioned,
             const std::function<void(Tensors&, json& config)>& change) {
  json golden = cases().at(module);
  Tensors tensors;
  for (const StoredTensor& t : golden_reader().tensors())
    if (t.name.starts_with(module + ".") && !t.name.ends_with(".expected"))
      tensors[t.name.substr(module.size() + 1)] = {t.type, t.shape, {t.bytes.begin(), t.bytes.end()}};
  change(tensors, golden["quantization_config"]);
  const test::TempDir dir;
  FilePlan plan{.metadata = {{"format", std::string("pt")}}};
  for (const auto& [suffix, t] : tensors)
    plan.tensors.push_back({module + "." + suffix, t.type, t.shape, t.bytes.size()});
  const auto writer = find_container("safetensors").create(dir.path(), plan);
  size_t i = 0;
  for (const auto& [suffix, t] : tensors) writer->write(i++, 0, t.bytes);
  writer->commit();
  const auto reader = find_container("safetensors").open(dir.path());
  const std::string said = test::refusal([&] { read_module(*reader, golden, module); }, kind);
  EXPECT_TRUE(test::mentions(said, mentioned)) << module << ": '" << said << "' should mention " << mentioned;
}

TEST(StoredW8, RefusesScalesThatDoNotFit) {
  const auto bad = [](const char* module, std::string_view mentioned, const std::function<void(Tensor&)>& change) {
    refused(module, ErrorKind::bad_input, mentioned, [&](Tensors& t, json&) { change(t["weight_scale"]); });
  };
  for (const char* module : {"int_channel_bfloat16", "float_channel_bfloat16"}) {
    bad(module, "do not fit", [](Tensor& t) { t = {"BF16", {23, 1}, std::vector<std::byte>(46)}; });
    bad(module, "do not fit", [](Tensor& t) { t = {"BF16", {24, 2}, std::vector<std::byte>(96)}; });
    bad(module, "do not fit", [](Tensor& t) { t = {"BF16", {0, 1}, {}}; });
    bad(module, "not F32, F16 or BF16", [](Tensor& t) { t = {"I16", {24, 1}, std::vector<std::byte>(48)}; });
  }
  bad("float_block_bfloat16", "do not fit", [](Tensor& t) { t = {"BF16", {1, 2}, std::vector<std::byte>(4)}; });
  refused("int_channel_bfloat16", ErrorKind::bad_input, "not a matrix",
          [](Tensors& t, json&) { t["weight"].shape = {24 * 40}; });
  refused("int_channel_bfloat16", ErrorKind::bad_input, "not a matrix", [](Tensors& t, json&) {
    t["weight"] = {"I8", {0, 40}, {}};
  });
}

TEST(StoredW8, RefusesWhatItDoesNotCompute) {
  const auto with = [](std::string_view mentioned, const std::function<void(json & group)>& change) {
    refused("float_channel_bfloat16", ErrorKind::unsupported, mentioned,
            [&](Tensors&, json& c) { change(c["config_groups"]["group_0"]); });
  };
  with("16 bits", [](json& g) { g["input_activations"] = nullptr; });
  with("static", [](json& g) { g["input_activations"]["dynamic"] = false; });
  with("static", [](json& g) { g["input_activations"].erase("dynamic"); });
  with("by tensor", [](json& g) { g["input_activations"]["strategy"] = "tensor"; });
  with("another type", [](json& g) { g["input_activations"]["type"] = "int"; });
  with("another type", [](json& g) { g["input_activations"]["num_bits"] = 4; });
  with("zero points", [](json& g) { g["weights"]["symmetric"] = false; });
  with("no group describes", [](json& g) { g["weights"]["num_bits"] = 4; });
  with("not an object", [](json& g) { g = 7; });
  refused("float_channel_bfloat16", ErrorKind::unsupported, "config_groups",
          [](Tensors&, json& c) { c.erase("config_groups"); });
  refused("float_channel_bfloat16", ErrorKind::unsupported, "differently", [](Tensors&, json& c) {
    c["config_groups"]["group_1"] = c["config_groups"]["group_0"];
    c["config_groups"]["group_1"]["input_activations"]["strategy"] = "group";
    c["config_groups"]["group_1"]["input_activations"]["group_size"] = 8;
  });
  refused("float_channel_bfloat16", ErrorKind::bad_input, "group_size", [](Tensors&, json& c) {
    c["config_groups"]["group_0"]["input_activations"]["strategy"] = "group";
    c["config_groups"]["group_0"]["input_activations"]["group_size"] = "all";
  });
  refused("float_block_bfloat16", ErrorKind::bad_input, "do not divide",
          [](Tensors&, json& c) { c["config_groups"]["group_0"]["input_activations"]["group_size"] = 96; });
  for (const char* extra : {"weight_zero_point", "input_scale"})
    refused("int_channel_bfloat16", ErrorKind::unsupported, "static", [&](Tensors& t, json&) {
      t[extra] = {"BF16", {1}, std::vector<std::byte>(2)};
    });
}

}  // namespace
}  // namespace kerf
