// What a family that is one file can do: run, be calibrated, be stored in other ways, and be refused where it must be.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "formats/container.h"
#include "model/arch/family.h"
#include "model/ops/folds.h"
#include "model/run/blockwise_forward.h"
#include "model/run/logits.h"
#include "pipeline/runs/compress.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/refusal.h"
#include "verify/artifact.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using test::RandomCheckpoint;

constexpr int64_t kHidden = 64, kFfn = 96, kHeads = 4, kKv = 2, kHead = 16, kRotated = 8, kLayers = 2, kVocab = 4096;
constexpr double kEps = 1e-3, kTheta = 500;  // so that either shows

nlohmann::json config(bool shared_norm, const char* fused = "no") {
  return {{"architectures", {"ToyForCausalLM"}},
          {"model_type", "toy"},
          {"hidden_size", kHidden},
          {"intermediate_size", kFfn},
          {"num_hidden_layers", kLayers},
          {"num_attention_heads", kHeads},
          {"num_key_value_heads", kKv},
          {"vocab_size", kVocab},
          {"max_position_embeddings", 512},
          {"layer_norm_eps", kEps},
          {"rope_theta", kTheta},
          {"partial_rotary_factor", 0.5},
          {"shared_norm", shared_norm},
          {"fused", fused},
          {"tie_word_embeddings", false},
          {"bos_token_id", 0},
          {"eos_token_id", 0},
          {"dtype", "float32"}};
}

// A folder as on the hub: tensors as the architecture says that they are stored, with the numbers of a checkpoint under
// the plain names of `plain`, an architecture with the same weights in the same order.
void write_model(const fs::path& folder, const nlohmann::json& config, const Architecture& plain,
                 RandomCheckpoint& checkpoint) {
  const Architecture a = describe_architecture(config);
  struct Stored {
    std::vector<int64_t> shape;
    std::vector<float> values;
    bool transposed = false;
  };
  std::vector<std::string> order;
  std::map<std::string, Stored> stored;
  for (int64_t layer = -1; layer < a.layers(); ++layer) {
    const std::vector<ExpectedTensor> tensors = a.expected_tensors(layer), names = plain.expected_tensors(layer);
    ASSERT_EQ(tensors.size(), names.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const StoredAs& as = tensors[i].stored;
      const std::vector<float>& v = checkpoint.values(names[i].name);
      const auto [at, fresh] = stored.emplace(as.tensor, Stored{});
      if (fresh) order.push_back(as.tensor);
      // The next rows of what is stored, or of its transpose.
      Stored& s = at->second;
      s.transposed = as.transposed;
      s.values.insert(s.values.end(), v.begin(), v.end());
      if (fresh)
        s.shape = tensors[i].shape;
      else
        s.shape[0] += tensors[i].shape[0];
    }
  }
  for (auto& [name, s] : stored) {
    if (!s.transposed) continue;
    const auto rows = static_cast<size_t>(s.shape[0]), cols = static_cast<size_t>(s.shape[1]);
    std::vector<float> t(s.values.size());
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = 0; c < cols; ++c) t[c * rows + r] = s.values[r * cols + c];
    s.values = std::move(t);
    std::swap(s.shape[0], s.shape[1]);
  }
  FilePlan plan{.metadata = {{"format", std::string("pt")}}};
  for (const std::string& name : order)
    plan.tensors.push_back({name, "F32", stored[name].shape, stored[name].values.size() * sizeof(float)});
  fs::create_directories(folder);
  const auto writer = find_container("safetensors").create(folder, plan);
  for (size_t i = 0; i < order.size(); ++i) writer->write(i, 0, std::as_bytes(std::span(stored[order[i]].values)));
  writer->commit();
  write_text(folder / "config.json", config.dump(2));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::example_dir() / name, folder / name);
}

std::vector<float> logits_of(const Architecture& a, WeightProvider& weights, const Windows& windows) {
  BlockwiseForward stream(a, weights, {}, windows);
  stream.run();
  const Logits logits(a, weights, stream);
  std::vector<float> out(static_cast<size_t>(windows.tokens() * a.vocab()));
  logits.panel(0, windows.tokens(), 0, a.vocab(), out.data(), a.vocab());
  return out;
}

// The toy in double precision, one number after the other.
class Plain {
 public:
  Plain(RandomCheckpoint& checkpoint, bool shared_norm) : c_(checkpoint), shared_(shared_norm) {}

  using Rows = std::vector<std::vector<double>>;
  Rows logits(std::span<const int32_t> ids) {
    Rows x;
    const std::vector<float>& embedding = c_.values("model.embed_tokens.weight");
    for (const int32_t id : ids) {
      x.emplace_back();
      for (int64_t c = 0; c < kHidden; ++c) x.back().push_back(embedding[static_cast<size_t>(id * kHidden + c)]);
    }
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const std::string at = "model.layers." + std::to_string(layer) + ".";
      const Rows normed = norm(x, at + "input_layernorm");
      const Rows normed_too = shared_ ? normed : norm(x, at + "post_attention_layernorm");
      Rows q = linear(normed, at + "self_attn.q_proj", kHeads * kHead);
      Rows k = linear(normed, at + "self_attn.k_proj", kKv * kHead);
      const Rows v = linear(normed, at + "self_attn.v_proj", kKv * kHead);
      rotate(q, kHeads);
      rotate(k, kKv);
      const Rows attended = linear(attend(q, k, v), at + "self_attn.o_proj", kHidden);
      Rows up = linear(normed_too, at + "mlp.up_proj", kFfn);
      for (auto& row : up)
        for (double& u : row) u = 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
      const Rows fed = linear(up, at + "mlp.down_proj", kHidden);
      for (size_t t = 0; t < x.size(); ++t)
        for (size_t c = 0; c < x[t].size(); ++c) x[t][c] += attended[t][c] + fed[t][c];
    }
    return linear(norm(x, "model.norm"), "lm_head", kVocab);
  }

 private:
  double at(const std::string& name, size_t i) { return static_cast<double>(c_.values(name)[i]); }

  Rows norm(const Rows& x, const std::string& name) {
    Rows out = x;
    for (auto& row : out) {
      double mean = 0, variance = 0;
      for (const double v : row) mean += v / kHidden;
      for (const double v : row) variance += (v - mean) * (v - mean) / kHidden;
      for (size_t c = 0; c < row.size(); ++c)
        row[c] = (row[c] - mean) / std::sqrt(variance + kEps) * at(name + ".weight", c) + at(name + ".bias", c);
    }
    return out;
  }
  Rows linear(const Rows& x, const std::string& name, int64_t out) {
    const std::vector<float>&w = c_.values(name + ".weight"), &bias = c_.values(name + ".bias");
    Rows y;
    for (const auto& row : x) {
      y.emplace_back();
      for (size_t r = 0; r < static_cast<size_t>(out); ++r) {
        double sum = static_cast<double>(bias[r]);
        for (size_t c = 0; c < row.size(); ++c) sum += static_cast<double>(w[r * row.size() + c]) * row[c];
        y.back().push_back(sum);
      }
    }
    return y;
  }
  static void rotate(Rows& x, int64_t heads) {
    for (size_t t = 0; t < x.size(); ++t)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < kRotated / 2; ++i) {
          double &a = x[t][static_cast<size_t>(h * kHead + i)],
                 &b = x[t][static_cast<size_t>(h * kHead + i + kRotated / 2)];
          const double angle = static_cast<double>(t) * std::pow(kTheta, -2.0 * static_cast<double>(i) / kRotated);
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
  }
  static Rows attend(const Rows& q, const Rows& k, const Rows& v) {
    Rows out(q.size(), std::vector<double>(static_cast<size_t>(kHeads * kHead), 0.0));
    for (size_t t = 0; t < q.size(); ++t)
      for (int64_t h = 0; h < kHeads; ++h) {
        const auto from = static_cast<size_t>(h * kHead), kv = static_cast<size_t>(h / (kHeads / kKv) * kHead);
        std::vector<double> p;
        double total = 0;
        for (size_t s = 0; s <= t; ++s) {
          double score = 0;
          for (size_t i = 0; i < kHead; ++i) score += q[t][from + i] * k[s][kv + i];
          p.push_back(std::exp(score / std::sqrt(static_cast<double>(kHead))));
          total += p.back();
        }
        for (size_t s = 0; s <= t; ++s)
          for (size_t i = 0; i < kHead; ++i) out[t][from + i] += p[s] / total * v[s][kv + i];
      }
    return out;
  }

  RandomCheckpoint& c_;
  bool shared_;
};

class Toy : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Toy, Toy, testing::Bool(),
                         [](const auto& info) { return info.param ? "SharedNorm" : "TwoNorms"; });

TEST_P(Toy, RunsAsItIsDefined) {
  const Architecture a = describe_architecture(config(GetParam()));
  RandomCheckpoint checkpoint(a);
  check_tensors(a, checkpoint);
  const Windows windows = test::random_windows(2, 40, kVocab);
  const std::unique_ptr<WeightProvider> weights = dense_weights(a, checkpoint);
  const std::vector<float> got = logits_of(a, *weights, windows);
  Plain plain(checkpoint, GetParam());
  double worst = 0, largest = 0;
  for (int64_t w = 0; w < windows.count; ++w) {
    const auto expected = plain.logits(windows.window(w));
    for (size_t t = 0; t < expected.size(); ++t)
      for (size_t i = 0; i < expected[t].size(); ++i) {
        const size_t at = (static_cast<size_t>(w * windows.length) + t) * static_cast<size_t>(kVocab) + i;
        worst = std::max(worst, std::fabs(static_cast<double>(got[at]) - expected[t][i]));
        largest = std::max(largest, std::fabs(expected[t][i]));
      }
  }
  EXPECT_LE(worst, 1e-5 * largest);
}

TEST_P(Toy, StoppingBeforeEachGroupChangesNothing) {
  const Architecture a = describe_architecture(config(GetParam()));
  RandomCheckpoint checkpoint(a);
  const std::unique_ptr<WeightProvider> weights = dense_weights(a, checkpoint);
  const Windows windows = test::random_windows(13, 100, kVocab);  // more than one batch
  BlockwiseForward batches(a, *weights, {}, windows), groups(a, *weights, {}, windows);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    batches.run_block(layer);
    groups.run_block_in_groups(layer, [&](const BlockwiseForward::Group& g) {
      std::vector<BlockwiseForward::Replacement> same;
      for (size_t i = 0; i < g.sites.size(); ++i)
        same.push_back({weights->linear(g.sites[i]), {g.biases[i].begin(), g.biases[i].end()}});
      return same;
    });
  }
  EXPECT_TRUE(std::equal(batches.hidden().begin(), batches.hidden().end(), groups.hidden().begin()));
}

TEST(ToyFolds, ANormThatTwoGroupsReadTakesNoScales) {
  const Architecture shared = describe_architecture(config(true)), two = describe_architecture(config(false));
  for (const Site& site : shared.block_sites(1))
    if (site.role == "attn_q" || site.role == "attn_k" || site.role == "attn_v" || site.role == "ffn_up") {
      EXPECT_FALSE(fold_before(shared, site)) << site.role;
    }
  for (const Site& site : two.block_sites(1)) {
    const std::optional<Fold> fold = fold_before(two, site);
    if (site.role == "attn_q") {
      ASSERT_TRUE(fold);
      EXPECT_EQ(fold->norm, "model.layers.1.input_layernorm.weight");
      EXPECT_EQ(fold->norm_bias, "model.layers.1.input_layernorm.bias");
    }
    if (site.role == "ffn_up") {
      ASSERT_TRUE(fold);
      EXPECT_EQ(fold->norm, "model.layers.1.post_attention_layernorm.weight");
    }
    if (site.role == "ffn_down") {
      EXPECT_FALSE(fold) << "no scale passes through a curve";
    }
    if (site.role == "attn_output") {
      ASSERT_TRUE(fold);
      EXPECT_EQ(fold->site, "model.layers.1.self_attn.v_proj.weight");
    }
  }
}

TEST(ToyFolds, ABlockMayEndInAMatrix) {
  Architecture a = describe_architecture(config(true));
  Ops& ops = a.kinds[0];
  ops.pop_back();  // fed is not added: the last matrix of the block is what leaves it
  ops.pop_back();
  ops.back().output = "x";
  ops.shrink_to_fit();  // anything past the end is not the list's
  ASSERT_TRUE(ops.back().as<MatMul>());
  for (const Site& site : a.block_sites(0)) fold_before(a, site);
  const std::vector<std::vector<size_t>> groups = input_groups(ops);
  EXPECT_EQ(groups.back(), std::vector<size_t>{ops.size() - 1});
  RandomCheckpoint checkpoint(a);
  const std::unique_ptr<WeightProvider> weights = dense_weights(a, checkpoint);
  const std::vector<float> logits = logits_of(a, *weights, test::random_windows(1, 20, kVocab));
  for (const float x : logits) ASSERT_TRUE(std::isfinite(x));
}

TEST(ToyFiles, PartsOfTensorsAndTransposedOnesAreTheSameModel) {
  test::TempDir dir;
  const Architecture plain = describe_architecture(config(true));
  RandomCheckpoint checkpoint(plain);
  const Windows windows = test::random_windows(2, 40, kVocab);
  std::vector<std::vector<float>> logits;
  std::vector<int64_t> parameters;
  for (const char* fused : {"no", "rows", "columns", "transposed"}) {
    write_model(dir / fused, config(true, fused), plain, checkpoint);
    const Artifact artifact = open_artifact(dir / fused);
    EXPECT_EQ(artifact.weights->find("model.layers.0.self_attn.qkv_proj.weight"), nullptr);
    logits.push_back(logits_of(artifact.architecture, *weights_of(artifact, VerifyMode::float32), windows));
    parameters.push_back(artifact.parameters());
  }
  for (size_t i = 1; i < logits.size(); ++i) {
    EXPECT_EQ(logits[0], logits[i]);
    EXPECT_EQ(parameters[0], parameters[i]);
  }
}

TEST(ToyFiles, ATensorThatIsTooSmallForItsPartsIsNamed) {
  test::TempDir dir;
  const Architecture plain = describe_architecture(config(true));
  RandomCheckpoint checkpoint(plain);
  for (const auto& [fused, said] :
       {std::pair("rows", "qkv_proj.weight has 128 rows"), std::pair("columns", "qkv_proj.weight has 128 columns")}) {
    write_model(dir / fused, config(true, fused), plain, checkpoint);
    nlohmann::json other = config(true, fused);
    other["num_key_value_heads"] = kHeads;
    write_text(dir / fused / "config.json", other.dump());
    const std::string sentence = test::refusal([&] { open_artifact(dir / fused); }, ErrorKind::bad_input);
    EXPECT_TRUE(test::mentions(sentence, said)) << sentence;
  }
}

TEST(ToyFiles, WriteConfigSaysWhatDescribeReads) {
  for (const bool shared : {true, false})
    for (const char* fused : {"no", "rows", "columns", "transposed"}) {
      const nlohmann::json asked = config(shared, fused),
                           written = nlohmann::json::parse(write_config(describe_architecture(asked)).dump());
      for (const auto& [key, value] : written.items())
        if (asked.contains(key)) {
          EXPECT_EQ(asked[key], value) << key;
        }
      for (const char* key : {"layer_norm_eps", "rope_theta", "partial_rotary_factor", "shared_norm", "fused"})
        EXPECT_TRUE(written.contains(key)) << key;
      EXPECT_EQ(nlohmann::json::parse(write_config(describe_architecture(written)).dump()), written);
    }
}

CompressOptions job(const fs::path& model, const fs::path& out, const char* target, const char* method) {
  CompressOptions o;
  o.model = model;
  o.targets = {target};
  o.method = method;
  o.calib = {.text = test::example_dir() / "heldout.txt", .windows = 16, .ctx = 64};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 4, .skip_tokens = 4000};
  o.out = out;
  return o;
}

TEST_P(Toy, IsCalibrated) {
  test::TempDir dir;
  const Architecture a = describe_architecture(config(GetParam()));
  RandomCheckpoint checkpoint(a);
  write_model(dir / "model", config(GetParam()), a, checkpoint);
  double rtn = 0;
  for (const char* method : {"rtn", "gptq", "awq", "auto"}) {
    CompressOptions o = job(dir / "model", dir / method, "vllm:w4a16-g32", method);
    o.dtype = "float32";  // norms as they are
    if (method == std::string("rtn")) o.calib = {};
    const Report report = compress(o);
    const double kl = report.targets[0].verification->comparison.kl_mean;
    EXPECT_GT(kl, 0) << method;
    if (method == std::string("rtn")) rtn = kl;
    if (method == std::string("gptq") || method == std::string("auto")) {
      EXPECT_LT(kl, 0.9 * rtn) << method;
    }
    // No scales where they could not be folded exactly: not into a norm that others read, nor into one with a bias.
    for (const SiteOutcome& s : report.targets[0].calibrated)
      if (s.name.find("q_proj") != s.name.npos || s.name.find("up_proj") != s.name.npos ||
          s.name.find("down_proj") != s.name.npos) {
        EXPECT_FALSE(s.method.find("awq") != s.method.npos) << s.name << " " << s.method;
      }
    const Artifact packed = open_artifact(dir / method);
    for (const char* norm : {"model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.bias"})
      EXPECT_EQ(read_vector(*packed.weights, norm), checkpoint.values(norm)) << method;
  }
}

TEST(ToyFiles, PartsAndTransposedOnesAreRefusedByTargetsThatWouldStoreThemOtherwise) {
  test::TempDir dir;
  const Architecture plain = describe_architecture(config(true));
  RandomCheckpoint checkpoint(plain);
  for (const auto& [fused, reason] :
       {std::pair("rows", "is a part of the checkpoint's tensor model.layers.0.self_attn.qkv_proj.weight"),
        std::pair("columns", "is a part of the checkpoint's tensor model.layers.0.self_attn.qkv_proj.weight"),
        std::pair("transposed", "holds model.layers.0.self_attn.q_proj.weight as [inputs, outputs]")}) {
    write_model(dir / fused, config(true, fused), plain, checkpoint);
    for (const char* target : {"vllm:w4a16-g32", "transformers-gptq:w4-g32"}) {
      const CompressOptions o = job(dir / fused, dir / "out", target, "gptq");
      const std::string said = test::refusal([&] { compress(o); }, ErrorKind::unsupported);
      EXPECT_TRUE(test::mentions(said, reason)) << said;
      EXPECT_FALSE(fs::exists(dir / "out"));
    }
  }
}

TEST_P(Toy, IsRefusedWhereLlamaCppHasNoNameForIt) {
  test::TempDir dir;
  const Architecture a = describe_architecture(config(GetParam()));
  RandomCheckpoint checkpoint(a);
  write_model(dir / "model", config(GetParam()), a, checkpoint);
  for (const char* method : {"rtn", "gptq"}) {
    CompressOptions o = job(dir / "model", dir / "out", "llama.cpp-cpu:Q8_0", method);
    if (method == std::string("rtn")) o.calib = {};
    const std::string said = test::refusal([&] { compress(o); }, ErrorKind::unsupported);
    EXPECT_TRUE(test::mentions(said, "llama.cpp has no architecture for toy")) << said;
    EXPECT_TRUE(test::mentions(said, "choose a target that loads safetensors")) << said;
    EXPECT_FALSE(fs::exists(dir / "out"));
    const std::string planned = test::refusal([&] { dry_run(o); }, ErrorKind::unsupported);
    EXPECT_EQ(planned, said);
  }
}

}  // namespace
}  // namespace kerf
