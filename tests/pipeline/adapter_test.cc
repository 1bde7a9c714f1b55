// Adapters in their files: written, read back, applied, and what of others' is refused. And what packed matrices stand
// for, at which adapters aim.
#include "verify/adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "formats/container.h"
#include "model/run/weights.h"
#include "pipeline/distill/original_weights.h"
#include "pipeline/repository/adapter_files.h"
#include "pipeline/runs/compress.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr int64_t kRank = 2;

std::vector<float> numbers(int64_t n, float by) {
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = by * std::sin(static_cast<float>(i + 1));
  return x;
}

AdapterFactors factors_for(const Artifact& a) {
  AdapterFactors all;
  float by = 0.1F;
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& s : a.architecture.block_sites(layer)) {
      LowRank f{s.out, s.in, kRank, numbers(s.out * kRank, by), numbers(kRank * s.in, by)};
      round_to(Dtype::f16, f.a);
      round_to(Dtype::f16, f.b);
      all.emplace(s.name, std::move(f));
      by *= 1.05F;
    }
  return all;
}

// The embedded model packed for a target, with an adapter beside it.
class AdapterFiles : public testing::TestWithParam<std::string> {
 protected:
  static std::string packed_path(const fs::path& folder) {
    CompressOptions o;
    o.model = test::example_dir();
    o.targets = {GetParam()};
    o.out = folder;
    compress(o);
    return GetParam().starts_with("llama") ? folder / "tinytales-Q4_0.gguf" : folder;
  }
  test::TempDir dir_;
  const Artifact model_ = open_artifact(packed_path(dir_ / "out"));
  const bool gguf_ = model_.format == kGgufFormat;
  const AdapterFactors factors_ = factors_for(model_);
  const std::vector<fs::path> files_ =
      gguf_ ? write_gguf_adapter(factors_, model_) : write_peft_adapter(factors_, model_);
  const fs::path folder_ = dir_ / "out" / kAdapterFolder;
};

TEST_P(AdapterFiles, HoldWhatWasWritten) {
  const Adapter adapter = open_adapter(folder_, model_);
  ASSERT_EQ(adapter.matrices.size(), factors_.size());
  for (const auto& [name, m] : adapter.matrices) {
    EXPECT_EQ(m.scale, 1);
    EXPECT_EQ(m.factors.a, factors_.at(name).a) << name;
    EXPECT_EQ(m.factors.b, factors_.at(name).b) << name;
  }
  const std::string weights = model_.path.filename();
  EXPECT_EQ(adapter.bytes, gguf_ ? gguf_adapter_bytes(model_.architecture, kRank, weights)
                                 : peft_adapter_bytes(model_.architecture, kRank, weights));
  if (gguf_) {
    EXPECT_EQ(open_adapter(files_[0], model_).matrices.size(), factors_.size());
  }
}

TEST_P(AdapterFiles, AreAddedToTheProducts) {
  Artifact adapted = open_artifact(model_.path);
  set_adapter(adapted, folder_);
  EXPECT_GT(adapted.bytes, model_.bytes);
  constexpr int64_t kTokens = 70;  // more than one part
  for (const VerifyMode mode : {VerifyMode::runtime, VerifyMode::float32}) {
    const auto with = weights_of(adapted, mode), without = weights_of(adapted, mode, false);
    for (const Site& s : model_.architecture.block_sites(1)) {
      const std::vector<float> x = numbers(kTokens * s.in, 1);
      std::vector<float> y(static_cast<size_t>(kTokens * s.out)), y0 = y, part(y);
      with->linear(s)->apply(x.data(), kTokens, 0, s.out, y.data(), s.out);
      without->linear(s)->apply(x.data(), kTokens, 0, s.out, y0.data(), s.out);
      const LowRank& f = factors_.at(s.name);
      double apart = 0, size = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        double narrow[kRank] = {};
        for (int64_t k = 0; k < kRank; ++k)
          for (int64_t c = 0; c < s.in; ++c)
            narrow[k] += static_cast<double>(f.a[static_cast<size_t>(k * s.in + c)]) *
                         static_cast<double>(x[static_cast<size_t>(t * s.in + c)]);
        for (int64_t r = 0; r < s.out; ++r) {
          double expected = 0;
          for (int64_t k = 0; k < kRank; ++k)
            expected += static_cast<double>(f.b[static_cast<size_t>(r * kRank + k)]) * narrow[k];
          const auto i = static_cast<size_t>(t * s.out + r);
          apart += std::pow(static_cast<double>(y[i]) - static_cast<double>(y0[i]) - expected, 2);
          size += expected * expected;
        }
      }
      // llama.cpp rounds what the factors multiply to F16.
      EXPECT_LT(std::sqrt(apart / size), gguf_ && mode == VerifyMode::runtime ? 1e-3 : 1e-4) << s.name;
      const int64_t begin = s.out / 3, n = s.out / 2 - begin;  // some rows alone
      with->linear(s)->apply(x.data(), kTokens, begin, begin + n, part.data(), n);
      for (int64_t r = 0; r < n; ++r)
        EXPECT_NEAR(part[static_cast<size_t>(r)], y[static_cast<size_t>(begin + r)], 1e-3);
    }
  }
}

TEST_P(AdapterFiles, OfAnotherKindAreRefused) {
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { open_adapter(dir_ / "nowhere", model_); }, ErrorKind::io), "no adapter"));
  test::refusal([&] { open_adapter(dir_.path(), model_); }, gguf_ ? ErrorKind::bad_input : ErrorKind::usage);
}

INSTANTIATE_TEST_SUITE_P(Kinds, AdapterFiles, testing::Values("llama.cpp-cpu:Q4_0", "vllm:w4a16-g32"),
                         [](const auto& c) { return c.param.starts_with("llama") ? "gguf" : "peft"; });

// One tensor of each half, changed before it is written.
struct Foreign {
  std::string name, says;
  ErrorKind kind;
  std::function<void(nlohmann::json& config)> change_config = {};
  std::function<void(FilePlan& plan, std::vector<std::vector<std::byte>>& bytes)> change_tensors = {};
};

class ForeignAdapter : public testing::TestWithParam<Foreign> {};

TEST_P(ForeignAdapter, IsRefusedInASentence) {
  test::TempDir dir;
  const Artifact model = open_artifact(test::example_dir());
  const Site site = model.architecture.block_sites(0)[0];
  nlohmann::json config = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}};
  const std::string module = "base_model.model.model.layers.0.self_attn.q_proj.";
  FilePlan plan;
  std::vector<std::vector<std::byte>> bytes;
  const auto add = [&](const char* half, int64_t rows, int64_t cols) {
    bytes.emplace_back(static_cast<size_t>(4 * rows * cols));
    from_f32(Dtype::f32, numbers(rows * cols, 1), bytes.back());
    plan.tensors.push_back({module + half, "F32", {rows, cols}, bytes.back().size()});
  };
  add("lora_A.weight", 2, site.in);
  add("lora_B.weight", site.out, 2);
  if (GetParam().change_config) GetParam().change_config(config);
  if (GetParam().change_tensors) GetParam().change_tensors(plan, bytes);
  write_text(dir / "adapter_config.json", config.dump());
  const auto writer = find_container("safetensors").create(dir / "adapter_model.safetensors", plan);
  for (size_t i = 0; i < bytes.size(); ++i) writer->write(i, 0, bytes[i]);
  writer->commit();
  if (GetParam().says.empty()) {
    const Adapter a = open_adapter(dir.path(), model);
    ASSERT_EQ(a.matrices.size(), 1U);
    EXPECT_EQ(a.matrices.at(site.name).scale, config.value("use_rslora", false) ? 4 / std::sqrt(2.0F) : 2);
    return;
  }
  const std::string said = test::refusal([&] { open_adapter(dir.path(), model); }, GetParam().kind);
  EXPECT_TRUE(test::mentions(said, GetParam().says)) << said;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ForeignAdapter,
    testing::Values(
        Foreign{"good", "", ErrorKind::internal},
        Foreign{"by_root", "", ErrorKind::internal, [](auto& c) { c["use_rslora"] = true; }},
        Foreign{"dora", "use_dora", ErrorKind::unsupported, [](auto& c) { c["use_dora"] = true; }},
        Foreign{"other_type", "IA3", ErrorKind::unsupported, [](auto& c) { c["peft_type"] = "IA3"; }},
        Foreign{"no_type", "peft_type", ErrorKind::unsupported, [](auto& c) { c.erase("peft_type"); }},
        Foreign{"biases", "without biases", ErrorKind::unsupported, [](auto& c) { c["bias"] = "all"; }},
        Foreign{"other_rank", "r is 3", ErrorKind::bad_input, [](auto& c) { c["r"] = 3; }},
        Foreign{"no_rank", "not a rank", ErrorKind::bad_input, [](auto& c) { c["r"] = nlohmann::json::array(); }},
        Foreign{"several_ranks", "rank_pattern", ErrorKind::unsupported,
                [](auto& c) {
                  c["rank_pattern"] = {{"q_proj", 2}};
                }},
        Foreign{"flag_of_text", "not true or false", ErrorKind::bad_input, [](auto& c) { c["use_rslora"] = "true"; }},
        Foreign{"after_tokens", "alora_invocation_tokens", ErrorKind::unsupported,
                [](auto& c) { c["alora_invocation_tokens"] = {1}; }},
        Foreign{"some_layers", "layers_to_transform", ErrorKind::unsupported,
                [](auto& c) { c["layers_to_transform"] = {0}; }},
        Foreign{"whole_modules", "modules_to_save", ErrorKind::unsupported,
                [](auto& c) { c["modules_to_save"] = {"lm_head"}; }},
        Foreign{"named_modules", "", ErrorKind::internal,
                [](auto& c) {
                  c["target_modules"] = {"k_proj", "q_proj"};
                }},
        Foreign{"all_modules", "", ErrorKind::internal, [](auto& c) { c["target_modules"] = "all-linear"; }},
        Foreign{"other_modules", "does not name", ErrorKind::bad_input,
                [](auto& c) { c["target_modules"] = {"k_proj"}; }},
        Foreign{"alpha_of_nothing", "no number to multiply", ErrorKind::bad_input,
                [](auto& c) { c["lora_alpha"] = 1e300; }},
        Foreign{"several_alphas", "alpha_pattern", ErrorKind::unsupported,
                [](auto& c) {
                  c["alpha_pattern"] = {{"q_proj", 3}};
                }},
        Foreign{"alpha_of_text", "lora_alpha", ErrorKind::bad_input, [](auto& c) { c["lora_alpha"] = "much"; }},
        Foreign{"one_half",
                "the other is missing",
                ErrorKind::bad_input,
                {},
                [](FilePlan& p, auto& b) { p.tensors.pop_back(), b.pop_back(); }},
        Foreign{"nothing",
                "holds no tensor",
                ErrorKind::bad_input,
                {},
                [](FilePlan& p, auto& b) { p.tensors.clear(), b.clear(); }},
        Foreign{"embedding",
                "no half of an adapter",
                ErrorKind::unsupported,
                {},
                [](FilePlan& p, auto&) { p.tensors[0].name = "base_model.model.model.embed_tokens.lora_embedding_A"; }},
        Foreign{"other_layer",
                "layers.99",
                ErrorKind::unsupported,
                {},
                [](FilePlan& p, auto&) {
                  p.tensors[0].name = "base_model.model.model.layers.99.self_attn.q_proj.lora_A.weight";
                }},
        Foreign{"other_shape",
                "[rank, 256]",
                ErrorKind::bad_input,
                {},
                [](FilePlan& p, auto&) {
                  p.tensors[0].shape = {4, p.tensors[0].shape[1] / 2};
                }},
        Foreign{"no_number",
                "the adapter is damaged",
                ErrorKind::numerical,
                {},
                [](FilePlan&, auto& b) { std::fill_n(b[1].begin(), 4, std::byte{0xff}); }},
        Foreign{
            "other_numbers", "I32", ErrorKind::unsupported, {}, [](FilePlan& p, auto&) { p.tensors[0].type = "I32"; }}),
    [](const auto& c) { return c.param.name; });

TEST(ForeignAdapter, OfADamagedGgufIsRefused) {
  test::TempDir dir;
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {"llama.cpp-cpu:Q4_0"};
  o.out = dir / "out";
  compress(o);
  const Artifact model = open_artifact(dir / "out/tinytales-Q4_0.gguf");
  const auto written = [&](const char* architecture, const char* type, const char* tensor) {
    FilePlan plan{.tensors = {{tensor, "F32", {2, 256}, 2048}, {"blk.0.attn_q.weight.lora_b", "F32", {256, 2}, 2048}},
                  .metadata = {{"general.architecture", std::string(architecture)},
                               {"general.type", std::string("adapter")},
                               {"adapter.type", std::string(type)},
                               {"adapter.lora.alpha", 8.0F}}};
    const auto writer = find_container("gguf").create(dir / "a.gguf", plan);
    const std::vector<std::byte> zeros(2048);
    for (size_t i = 0; i < 2; ++i) writer->write(i, 0, zeros);
    writer->commit();
    return dir / "a.gguf";
  };
  EXPECT_EQ(open_adapter(written("llama", "lora", "blk.0.attn_q.weight.lora_a"), model).matrices.begin()->second.scale,
            4);
  const auto says = [&](const fs::path& file, ErrorKind kind, const char* what) {
    const std::string said = test::refusal([&] { open_adapter(file, model); }, kind);
    EXPECT_TRUE(test::mentions(said, what)) << said;
  };
  says(written("gemma3", "lora", "blk.0.attn_q.weight.lora_a"), ErrorKind::bad_input, "of the architecture 'gemma3'");
  says(written("llama", "control", "blk.0.attn_q.weight.lora_a"), ErrorKind::unsupported, "adapter.type 'control'");
  says(written("llama", "lora", "token_embd.weight.lora_a"), ErrorKind::unsupported, "token_embd.weight.lora_a");
  says(dir / "out/tinytales-Q4_0.gguf", ErrorKind::unsupported, "no LoRA adapter");
  const std::string whole = read_text(written("llama", "lora", "blk.0.attn_q.weight.lora_a"), 1 << 30);
  write_text(dir / "cut.gguf", whole.substr(0, whole.size() - 1000));
  says(dir / "cut.gguf", ErrorKind::bad_input, "cut.gguf");
}

// At 8 bits a packed matrix is nearly what it stands for.
TEST(OriginalWeights, AreInTheScalingOfThePackedFile) {
  test::TempDir dir;
  for (const char* target : {"vllm:w8a16-g32", "llama.cpp-cpu:Q8_0"}) {
    CompressOptions o;
    o.model = test::example_dir();
    o.targets = {target};
    o.method = "awq";
    o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 8};
    o.out = dir / target;
    const Report report = compress(o);
    int scaled = 0;
    for (const SiteOutcome& s : report.targets[0].calibrated) scaled += s.alpha > 0;
    ASSERT_GT(scaled, 4);
    const Artifact source = open_artifact(test::example_dir()), packed = open_artifact(o.out);
    const OriginalWeights original(source, packed);
    double largest = 0;
    for (int64_t layer = 0; layer < 4; ++layer)
      for (const Site& site : packed.architecture.block_sites(layer)) {
        const std::vector<float> is = read_vector(*packed.weights, site.name), stands_for = original.values(site.name),
                                 was = read_vector(*source.weights, site.name);
        double apart = 0, moved = 0, size = 0;
        for (size_t i = 0; i < is.size(); ++i) {
          apart += std::pow(static_cast<double>(is[i]) - static_cast<double>(stands_for[i]), 2);
          moved += std::pow(static_cast<double>(is[i]) - static_cast<double>(was[i]), 2);
          size += std::pow(static_cast<double>(is[i]), 2);
        }
        EXPECT_LT(std::sqrt(apart / size), 0.01) << target << " " << site.name;
        largest = std::max(largest, std::sqrt(moved / size));
      }
    EXPECT_GT(largest, 0.1) << target;  // without that they are not
    EXPECT_TRUE(original.values("model.layers.99.self_attn.q_proj.weight").empty());
  }
}

}  // namespace
}  // namespace kerf
