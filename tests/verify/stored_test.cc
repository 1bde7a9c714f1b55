// Readers of quantized repositories: files that the defining packages packed decode to what those packages say, and
// damaged ones are refused. goldens/weight_only/make.py says where the files come from.
#include "verify/stored.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "formats/layouts/layout.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

fs::path goldens() { return test::source_dir() / "tests" / "verify" / "goldens" / "weight_only"; }

const json& golden_cases() {
  static const json cases = json::parse(read_text(goldens() / "goldens.json"));
  return cases;
}

const Reader& golden_reader() {
  static const std::unique_ptr<Reader> reader = find_container("safetensors").open(goldens() / "goldens.safetensors");
  return *reader;
}

QuantizedRepository repository(const Reader& reader, const json& golden) {
  return {reader, golden["quantization_config"], "config.json",
          *dtype_from_torch_name(golden["dtype"].get<std::string>())};
}

const StoredFormat& format_of(const QuantizedRepository& r) {
  for (const StoredFormat* f : all_storeds())
    if (f->recognises(r)) return *f;
  fail(ErrorKind::unsupported, "no format");
}

// The one matrix of a module.
StoredWeight read_module(const QuantizedRepository& r, const std::string& module) {
  const StoredFormat& format = format_of(r);
  std::optional<StoredWeight> found;
  for (const StoredTensor& t : r.reader.tensors()) {
    if (!t.name.starts_with(module + ".") || !format.owns(r, t)) continue;
    if (auto w = format.weight(r, t)) found = std::move(w);
  }
  if (!found) fail(ErrorKind::bad_input, "no matrix");
  return std::move(*found);
}

std::vector<float> decoded(const StoredWeight& w) {
  const auto cols = static_cast<size_t>(w.info.cols());
  std::vector<float> all(static_cast<size_t>(w.info.rows()) * cols);
  for (int64_t r = 0; r < w.info.rows(); ++r)
    decode_file_row(w, r, std::span(all).subspan(static_cast<size_t>(r) * cols, cols));
  return all;
}

TEST(StoredFormats, DecodeWhatTheDefiningPackagesPackedToTheSameNumbers) {
  for (const auto& [module, golden] : golden_cases().items()) {
    const StoredWeight w = read_module(repository(golden_reader(), golden), module);
    const StoredTensor* expected = golden_reader().find(module + ".expected");
    ASSERT_EQ(w.info.shape, expected->shape) << module;
    std::vector<float> numbers(decoded(w).size());
    to_f32(*dtype_from_name(expected->type), expected->bytes, numbers);
    EXPECT_EQ(decoded(w), numbers) << module;
  }
}

TEST(StoredFormats, AreWrittenByteForByteByTheLayoutThatTheyName) {
  int checked = 0;
  for (const auto& [module, golden] : golden_cases().items()) {
    const StoredWeight w = read_module(repository(golden_reader(), golden), module);
    if (w.layout.empty()) continue;
    const Layout& layout = find_layout(w.layout);
    ASSERT_FALSE(layout.refuses(w.numbers, w.info.rows(), w.info.cols())) << module;
    const auto plan = layout.plan(w.numbers, w.info.rows(), w.info.cols());
    std::vector<std::span<const std::byte>> parts;
    uint64_t bytes = 0;
    for (const LayoutTensor& part : plan) {
      const StoredTensor* t = golden_reader().find(module + "." + part.suffix);
      ASSERT_TRUE(t) << module << " " << part.suffix;
      EXPECT_EQ(t->shape, part.shape) << module << " " << part.suffix;
      EXPECT_EQ(t->type, part.type) << module << " " << part.suffix;
      parts.push_back(t->bytes);
      bytes += t->bytes.size();
    }
    EXPECT_EQ(w.stored_bytes, bytes) << module;
    const auto packed = layout.pack(layout.unpack(w.numbers, w.info.rows(), w.info.cols(), parts));
    for (size_t i = 0; i < plan.size(); ++i) {
      const auto& mine = plan[i].is_constant() ? plan[i].constant : packed[i];
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), parts[i].begin(), parts[i].end()))
          << module << " " << plan[i].suffix;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 30);  // all but the one with groups in activation order
}

// A golden with changed tensors and config, in a file of its own.
struct Tensor {
  std::string type;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(bytes.data());
  }
};
using Tensors = std::map<std::string, Tensor>;  // by their suffix
using Change = std::function<void(Tensors&, json& config)>;

class Changed {
 public:
  Changed(const std::string& module, const Change& change) : module_(module), golden_(golden_cases().at(module)) {
    Tensors tensors;
    for (const StoredTensor& t : golden_reader().tensors())
      if (t.name.starts_with(module + ".") && !t.name.ends_with(".expected"))
        tensors[t.name.substr(module.size() + 1)] = {t.type, t.shape, {t.bytes.begin(), t.bytes.end()}};
    change(tensors, golden_["quantization_config"]);
    FilePlan plan{.metadata = {{"format", std::string("pt")}}};
    for (const auto& [suffix, t] : tensors)
      plan.tensors.push_back({module + "." + suffix, t.type, t.shape, t.bytes.size()});
    const auto writer = find_container("safetensors").create(dir_.path(), plan);
    size_t i = 0;
    for (const auto& [suffix, t] : tensors) writer->write(i++, 0, t.bytes);
    writer->commit();
    reader_ = find_container("safetensors").open(dir_.path());
  }
  StoredWeight read() const { return read_module(repository(*reader_, golden_), module_); }

 private:
  std::string module_;
  json golden_;
  test::TempDir dir_;
  std::unique_ptr<Reader> reader_;
};

void refused(const std::string& module, ErrorKind kind, std::string_view mentioned, const Change& change) {
  const Changed changed(module, change);
  const std::string said = test::refusal([&] { changed.read(); }, kind);
  EXPECT_TRUE(test::mentions(said, mentioned)) << module << ": '" << said << "' should mention " << mentioned;
}

// One dimension fewer by one, with the bytes that go with it.
void shorten(Tensor& t, size_t dimension) {
  const int64_t before = t.shape[dimension];
  --t.shape[dimension];
  t.bytes.resize(t.bytes.size() / static_cast<size_t>(before) * static_cast<size_t>(before - 1));
}

TEST(StoredGptq, RefusesPartsThatDoNotFitTogether) {
  const auto bad = [](std::string_view mentioned, const Change& change) {
    refused("gptq_w4_g16_asym_v1", ErrorKind::bad_input, mentioned, change);
  };
  for (const char* part : {"qzeros", "scales"}) {
    bad("belong together", [&](Tensors& t, json&) { t.erase(part); });
  }
  bad("no g_idx", [](Tensors& t, json& c) {
    t.erase("g_idx");
    c["desc_act"] = true;
  });
  bad("group_size is 32", [](Tensors& t, json& c) {
    t.erase("g_idx");
    c["desc_act"] = false;
    c["group_size"] = 32;
  });
  for (const char* part : {"qweight", "qzeros", "scales"}) {
    bad("", [&](Tensors& t, json&) { shorten(t[part], 0); });
    bad("", [&](Tensors& t, json&) { shorten(t[part], 1); });
    bad("must be", [&](Tensors& t, json&) { t[part].shape = {t[part].shape[0] * t[part].shape[1]}; });
  }
  bad("must be", [](Tensors& t, json&) { t["qweight"].type = "F32"; });
  bad("must be", [](Tensors& t, json&) { t["scales"].type = "I16"; });
  bad("list of I32", [](Tensors& t, json&) { t["g_idx"].type = "F32"; });
  bad("group that is none", [](Tensors& t, json&) { t["g_idx"].data<int32_t>()[5] = 4; });
  bad("group that is none", [](Tensors& t, json&) { t["g_idx"].data<int32_t>()[5] = -5; });
  bad("group that is none", [](Tensors& t, json&) { t["g_idx"].data<int32_t>()[5] = INT32_MIN; });
  bad("empty", [](Tensors& t, json&) { t["g_idx"] = {"I32", {0}, {}}; });
  bad("do not hold", [](Tensors& t, json&) {
    t["g_idx"].shape = {56};
    t["g_idx"].bytes.resize(56 * 4);
  });
}

TEST(StoredGptq, TakesGroupsInOrderWhereThereIsNoGIdx) {
  const auto read = [](const Change& change) { return decoded(Changed("gptq_w4_g16_asym_v1", change).read()); };
  EXPECT_EQ(read([](Tensors& t, json& c) {
              t.erase("g_idx");
              c["desc_act"] = false;
            }),
            read([](Tensors&, json&) {}));
}

TEST(StoredGptq, RefusesConfigsThatItsTensorsContradictOrThatItDoesNotKnow) {
  const auto with = [](ErrorKind kind, std::string_view mentioned, const std::function<void(json&)>& change) {
    refused("gptq_w4_g32_v1", kind, mentioned, [&](Tensors&, json& config) { change(config); });
  };
  with(ErrorKind::bad_input, "of 8 bits", [](json& c) { c["bits"] = 8; });
  with(ErrorKind::bad_input, "bits", [](json& c) { c["bits"] = 5; });
  with(ErrorKind::bad_input, "bits", [](json& c) { c["bits"] = "4"; });
  with(ErrorKind::bad_input, "bits", [](json& c) { c["bits"] = 1e30; });
  with(ErrorKind::bad_input, "missing", [](json& c) { c.erase("bits"); });
  with(ErrorKind::unsupported, "gptq_p", [](json& c) { c["checkpoint_format"] = "gptq_p"; });
  with(ErrorKind::unsupported, "int16", [](json& c) { c["pack_dtype"] = "int16"; });
}

TEST(StoredGptq, TakesTheWidthFromTheWordsWhereTheConfigSaysThatModulesDiffer) {
  const Changed changed("gptq_w8_g32_v1", [](Tensors&, json& config) {
    config["bits"] = 4;
    config["dynamic"] = {{"+:.*", {{"bits", 8}}}};
  });
  EXPECT_EQ(changed.read().scheme, "w8-g32");
}

TEST(StoredGptq, ReadsAZeroPointOfMinusOneAsZero) {
  // As readers that mask do; nobody should write it (formats/layouts/layout_gptq.h).
  const Changed changed("gptq_w4_g32_v1", [](Tensors& t, json&) {
    std::fill(t["qzeros"].bytes.begin(), t["qzeros"].bytes.end(), std::byte{0xff});
  });
  const StoredWeight w = changed.read();
  EXPECT_EQ(w.scheme, "w4-g32-asym");
  EXPECT_NO_THROW(decoded(w));
}

TEST(StoredAwq, RefusesPartsThatDoNotFitTogether) {
  const auto bad = [](std::string_view mentioned, const Change& change) {
    refused("awq_g32_float16", ErrorKind::bad_input, mentioned, change);
  };
  for (const char* part : {"qzeros", "scales"}) {
    bad("belong together", [&](Tensors& t, json&) { t.erase(part); });
    bad("do not fit", [&](Tensors& t, json&) { shorten(t[part], 0); });
    bad("do not fit", [&](Tensors& t, json&) { shorten(t[part], 1); });
  }
  bad("do not fit", [](Tensors& t, json&) { shorten(t["qweight"], 0); });
  bad("must be", [](Tensors& t, json&) { t["qzeros"].type = "F32"; });
  bad("empty", [](Tensors& t, json&) { t["qweight"] = {"I32", {0, 4}, {}}; });
  bad("groups are of 32", [](Tensors&, json& c) { c["group_size"] = 64; });
  bad("groups are of 32", [](Tensors&, json& c) { c["group_size"] = -1; });
  bad("groups are of 32", [](Tensors&, json& c) { c.erase("group_size"); });
  refused("awq_g32_float16", ErrorKind::unsupported, "gemv", [](Tensors&, json& c) { c["version"] = "gemv"; });
  refused("awq_g32_float16", ErrorKind::unsupported, "bits", [](Tensors&, json& c) { c["bits"] = 8; });
}

TEST(StoredCtPack, RefusesPartsThatDoNotFitTogether) {
  const auto bad = [](std::string_view mentioned, const Change& change) {
    refused("ct_w4_g32_asym_float16", ErrorKind::bad_input, mentioned, change);
  };
  for (const char* part : {"weight_scale", "weight_shape"})
    bad("belong together", [&](Tensors& t, json&) { t.erase(part); });
  for (const char* part : {"weight_packed", "weight_scale", "weight_zero_point"})
    for (const size_t dimension : {size_t{0}, size_t{1}})
      bad("", [&](Tensors& t, json&) { shorten(t[part], dimension); });
  bad("weight_zero_point", [](Tensors& t, json&) { t["weight_zero_point"].type = "F32"; });
  bad("two I64", [](Tensors& t, json&) { t["weight_shape"].type = "F64"; });
  for (const int64_t in : {int64_t{-1}, int64_t{0}, int64_t{63}, int64_t{1} << 62})
    bad("", [&](Tensors& t, json&) { t["weight_shape"].data<int64_t>()[1] = in; });
  bad("num_bits", [](Tensors&, json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 33; });
  bad("none of the widths", [](Tensors&, json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 3; });
  bad("none of the widths", [](Tensors&, json& c) { c["config_groups"] = "all"; });
  bad("weight_g_idx", [](Tensors& t, json&) {
    t["weight_g_idx"] = {"I32", {64}, std::vector<std::byte>(256, std::byte{1})};
  });
}

TEST(StoredCtPack, ReadsGroupsInActivationOrder) {
  // The two groups of 32 inputs exchanged: input i has the scale and the zero point of the other group.
  const Changed changed("ct_w4_g32_asym_float16", [](Tensors& t, json&) {
    Tensor index{"I32", {64}, std::vector<std::byte>(256)};
    for (int i = 0; i < 64; ++i) index.data<int32_t>()[i] = i < 32 ? 1 : 0;
    t["weight_g_idx"] = index;
    auto* scales = t["weight_scale"].data<uint16_t>();  // [32, 2]
    for (int r = 0; r < 32; ++r) std::swap(scales[2 * r], scales[2 * r + 1]);
    auto* zeros = t["weight_zero_point"].data<uint32_t>();  // [4, 2]
    for (int r = 0; r < 4; ++r) std::swap(zeros[2 * r], zeros[2 * r + 1]);
  });
  const StoredWeight w = changed.read();
  EXPECT_EQ(w.layout, "");
  const auto& golden = golden_cases().at("ct_w4_g32_asym_float16");
  EXPECT_EQ(decoded(w), decoded(read_module(repository(golden_reader(), golden), "ct_w4_g32_asym_float16")));
}

TEST(StoredCtPack, RoundsScalesOfAnotherTypeToTheModelsFirst) {
  const std::string module = "ct_w4_g32_asym_float16";
  json golden = golden_cases().at(module);
  const std::vector<float> in_half = decoded(read_module(repository(golden_reader(), golden), module));
  golden["dtype"] = "bfloat16";
  const std::vector<float> w = decoded(read_module(repository(golden_reader(), golden), module));
  const StoredTensor& scales = *golden_reader().find(module + ".weight_scale");
  std::vector<float> scale(scales.bytes.size() / 2);
  to_f32(Dtype::f16, scales.bytes, scale);
  for (size_t i = 0; i < w.size(); ++i) {
    const float s = scale[i / 32];  // two groups of 32 in each row
    const float steps = std::nearbyint(in_half[i] / s);
    EXPECT_EQ(w[i], round_to(Dtype::bf16, steps * round_to(Dtype::bf16, s))) << i;
  }
}

TEST(StoredCtPack, ReadsThePaddedWordsOfOldReleases) {
  // Five codes of 6 bits in each word and two bits free, as releases up to 0.16.0 wrote.
  const std::string module = "ct_w6_g16_bfloat16";
  const auto& golden = golden_cases().at(module);
  const StoredWeight dense = read_module(repository(golden_reader(), golden), module);
  const Changed changed(module, [&](Tensors& t, json& config) {
    config["version"] = "0.10.2";
    const Layout& layout = find_layout("ct-pack");
    std::vector<std::span<const std::byte>> parts;
    for (const char* part : {"weight_packed", "weight_scale", "weight_shape"}) parts.emplace_back(t[part].bytes);
    const QuantizedMatrix q = layout.unpack(dense.numbers, 32, 64, parts);
    Tensor padded{"I32", {32, 13}, std::vector<std::byte>(32 * 13 * 4)};
    for (int64_t r = 0; r < 32; ++r)
      for (int64_t i = 0; i < 64; ++i)
        padded.data<uint32_t>()[r * 13 + i / 5] |= uint32_t{q.codes[static_cast<size_t>(r * 64 + i)]} << (6 * (i % 5));
    t["weight_packed"] = padded;
  });
  EXPECT_EQ(decoded(changed.read()), decoded(dense));
}

}  // namespace
}  // namespace kerf
