// A model beside the larger one that it was cut from: layers, FFN channels and tokens taken out of the embedded model.
#include "verify/correspondence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/run/logits.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "verify/verify.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

struct Tensor {
  std::string type;
  std::vector<int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

Tensors tensors_of(const fs::path& model) {
  const auto reader = find_container("safetensors").open(model);
  Tensors all;
  for (const StoredTensor& t : reader->tensors())
    all[t.name] = {t.type, t.shape, std::string(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size())};
  return all;
}

// Rows of a matrix, or entries of a vector.
Tensor rows_of(const Tensor& t, const std::vector<int64_t>& rows) {
  const size_t row = t.bytes.size() / static_cast<size_t>(t.shape[0]);
  Tensor out{t.type, t.shape, ""};
  out.shape[0] = static_cast<int64_t>(rows.size());
  for (const int64_t r : rows) out.bytes += t.bytes.substr(static_cast<size_t>(r) * row, row);
  return out;
}
Tensor columns_of(const Tensor& t, const std::vector<int64_t>& columns) {
  const size_t row = t.bytes.size() / static_cast<size_t>(t.shape[0]), item = row / static_cast<size_t>(t.shape[1]);
  Tensor out{t.type, {t.shape[0], static_cast<int64_t>(columns.size())}, ""};
  for (int64_t r = 0; r < t.shape[0]; ++r)
    for (const int64_t c : columns)
      out.bytes += t.bytes.substr(static_cast<size_t>(r) * row + static_cast<size_t>(c) * item, item);
  return out;
}

// The embedded model with changes, as a checkpoint in a folder of its own.
struct Cut {
  explicit Cut(const std::function<void(Tensors&, json& config)>& change) {
    Tensors tensors = tensors_of(test::example_dir() / "model.safetensors");
    json config = read_json_object(test::example_dir() / "config.json");
    change(tensors, config);
    FilePlan plan{.metadata = {{"format", std::string("pt")}}};
    for (const auto& [name, t] : tensors) plan.tensors.push_back({name, t.type, t.shape, t.bytes.size()});
    const auto writer = find_container("safetensors").create(dir / "model.safetensors", plan);
    size_t i = 0;
    for (const auto& [name, t] : tensors) writer->write(i++, 0, std::as_bytes(std::span(t.bytes)));
    writer->commit();
    write_text(dir / "config.json", config.dump());
  }
  test::TempDir dir;
};

std::vector<int64_t> up_to(int64_t n) {
  std::vector<int64_t> list(static_cast<size_t>(n));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

std::string layer_name(int64_t layer) { return fmt::format("model.layers.{}.", layer); }

void keep_layers(const std::vector<int64_t>& layers, Tensors& tensors, json& config) {
  Tensors kept;
  for (auto& [name, t] : tensors)
    if (!name.starts_with("model.layers.")) kept[name] = t;
  for (size_t i = 0; i < layers.size(); ++i)
    for (auto& [name, t] : tensors)
      if (const std::string old = layer_name(layers[i]); name.starts_with(old))
        kept[layer_name(static_cast<int64_t>(i)) + name.substr(old.size())] = t;
  tensors = std::move(kept);
  config["num_hidden_layers"] = layers.size();
}

Windows windows_of(const Artifact& a, int64_t count = 3, int64_t length = 24) {
  const Tokenizer tokenizer(a.tokenizer());
  return cut_windows(tokenizer.encode(read_text(test::example_dir() / "heldout.txt"), false), a.architecture.bos,
                     length, count, 0);
}

const Artifact& original() {
  static const Artifact a = open_artifact(test::example_dir());
  return a;
}

/// log softmax of every position, in double.
std::vector<std::vector<double>> log_probabilities(const Artifact& a, const Windows& windows) {
  const auto weights = weights_of(a, VerifyMode::float32);
  BlockwiseForward stream(a.architecture, *weights, {}, windows);
  stream.run();
  const Logits logits(a.architecture, *weights, stream);
  std::vector<float> rows(static_cast<size_t>(logits.tokens() * logits.vocab()));
  logits.panel(0, logits.tokens(), 0, logits.vocab(), rows.data(), logits.vocab());
  std::vector<std::vector<double>> all;
  for (int64_t t = 0; t < logits.tokens(); ++t) {
    std::vector<double> p(rows.begin() + t * logits.vocab(), rows.begin() + (t + 1) * logits.vocab());
    const double most = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (const double x : p) sum += std::exp(x - most);
    for (double& x : p) x -= most + std::log(sum);
    all.push_back(std::move(p));
  }
  return all;
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

TEST(Correspondence, OfAllLayersAndTokensMeasuresTheSameBits) {
  const Cut noisy([](Tensors& tensors, json&) {
    std::string& bytes = tensors["model.layers.1.mlp.down_proj.weight"].bytes;
    for (size_t i = 0; i < bytes.size(); i += 2) bytes[i] = 0;  // low halves of BF16
  });
  const Artifact packed = open_artifact(noisy.dir.path());
  const Windows windows = windows_of(original());
  Correspondence all{.layers = up_to(4), .axes = {{"hidden", {up_to(256)}}, {"ffn", {up_to(768)}}}};
  for (int32_t id = 0; id < 4096; ++id) all.tokens.push_back(id);
  const VerifySide sides[] = {{&packed, VerifyMode::float32}, {&packed, VerifyMode::float32, &all}};
  const std::vector<Verification> v = verify(original(), sides, windows);
  EXPECT_GT(v[0].comparison.kl_mean, 0);
  expect_same_bits(v[0].comparison.kl_per_token, v[1].comparison.kl_per_token);
  expect_same_bits(v[0].comparison.nll_per_token, v[1].comparison.nll_per_token);
  EXPECT_EQ(v[0].comparison.ppl, v[1].comparison.ppl);
  EXPECT_EQ(v[0].comparison.same_top1, v[1].comparison.same_top1);
  EXPECT_EQ(v[1].comparison.lost_mass, 0);
  ASSERT_EQ(v[0].sites.size(), 28u);  // 7 matrices of 4 layers
  ASSERT_EQ(v[1].sites.size(), 28u);
  for (size_t i = 0; i < 28; ++i) {
    EXPECT_EQ(v[0].sites[i].name, v[1].sites[i].name);
    EXPECT_EQ(v[0].sites[i].relative, v[1].sites[i].relative);
    EXPECT_EQ(v[0].sites[i].relative > 0, v[0].sites[i].name == "model.layers.1.mlp.down_proj.weight");
  }
}

TEST(Correspondence, AModelWithoutALayerIsMeasured) {
  const Cut cut([](Tensors& tensors, json& config) { keep_layers({0, 1, 3}, tensors, config); });
  write_text(cut.dir / kCorrespondenceFile, R"({"version": 1, "layers": [0, 1, 3]})");
  const Artifact packed = open_artifact(cut.dir.path());
  const Windows windows = windows_of(original());
  const VerifySide side{&packed, VerifyMode::float32};
  const Verification v = verify(original(), std::span(&side, 1), windows)[0];

  const auto p = log_probabilities(original(), windows), q = log_probabilities(packed, windows);
  double kl = 0, nll = 0;
  int scored = 0;
  for (size_t t = 0; t < p.size(); ++t) {
    if (t % 24 == 23) continue;
    ++scored;
    nll -= q[t][static_cast<size_t>(windows.ids[t + 1])];
    for (size_t i = 0; i < p[t].size(); ++i) kl += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
  }
  EXPECT_GT(v.comparison.kl_mean, 0.01);
  EXPECT_NEAR(v.comparison.kl_mean, kl / scored, 1e-4 * v.comparison.kl_mean);
  EXPECT_NEAR(std::log(v.comparison.ppl), nll / scored, 1e-5);
  // The weights are the original's, at their new places.
  ASSERT_EQ(v.sites.size(), 21u);
  for (const SiteError& s : v.sites) EXPECT_EQ(s.relative, 0) << s.name;
  EXPECT_EQ(v.sites.back().name, "model.layers.2.mlp.down_proj.weight");
}

TEST(Correspondence, AModelWithFewerFfnChannelsIsMeasured) {
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < 768; ++i)
    if (i % 12 != 5) kept.push_back(i);
  const Cut cut([&](Tensors& tensors, json& config) {
    for (int64_t l = 0; l < 4; ++l) {
      for (const char* name : {"mlp.gate_proj.weight", "mlp.up_proj.weight"}) {
        Tensor& t = tensors[layer_name(l) + name];
        t = rows_of(t, kept);
      }
      Tensor& down = tensors[layer_name(l) + "mlp.down_proj.weight"];
      down = columns_of(down, kept);
    }
    config["intermediate_size"] = kept.size();
  });
  const Artifact packed = open_artifact(cut.dir.path());
  const Correspondence map{.axes = {{"ffn", {kept}}}};
  const VerifySide side{&packed, VerifyMode::float32, &map};
  const Verification v = verify(original(), std::span(&side, 1), windows_of(original()))[0];
  EXPECT_GT(v.comparison.kl_mean, 0);
  ASSERT_EQ(v.sites.size(), 16u);  // q, k, v, o
  for (const SiteError& s : v.sites) EXPECT_EQ(s.relative, 0) << s.name;
}

TEST(Correspondence, AModelWithFewerTokensIsMeasuredOnThoseThatItHas) {
  const Windows windows = windows_of(original());
  // Two of three tokens, and those of the text: some panels of the vocabulary lose all of theirs.
  std::vector<bool> keep(4096);
  for (size_t id = 0; id < keep.size(); ++id) keep[id] = id % 3 != 1 && (id < 1024 || id >= 2048);
  for (const int32_t id : windows.ids) keep[static_cast<size_t>(id)] = true;
  Correspondence map;
  for (int32_t id = 0; id < 4096; ++id)
    if (keep[static_cast<size_t>(id)]) map.tokens.push_back(id);
  const std::vector<int64_t> rows(map.tokens.begin(), map.tokens.end());
  const Cut cut([&](Tensors& tensors, json& config) {
    keep_layers({0, 1, 2}, tensors, config);
    Tensor& embedding = tensors["model.embed_tokens.weight"];
    embedding = rows_of(embedding, rows);
    config["vocab_size"] = rows.size();
  });
  map.layers = {0, 1, 2};
  const Artifact packed = open_artifact(cut.dir.path());
  const VerifySide side{&packed, VerifyMode::float32, &map};
  const Comparison c = verify(original(), std::span(&side, 1), windows)[0].comparison;

  const Windows mine = to_packed_ids(map, windows, 4096);
  EXPECT_EQ(to_original_ids(map, mine).ids, windows.ids);
  const auto p = log_probabilities(original(), windows), q = log_probabilities(packed, mine);
  double kl = 0, nll = 0, nll_reference = 0, lost = 0, same = 0;
  int scored = 0;
  for (size_t t = 0; t < p.size(); ++t) {
    if (t % 24 == 23) continue;
    ++scored;
    nll -= q[t][static_cast<size_t>(mine.ids[t + 1])];
    double mass = 0;
    for (const int32_t id : map.tokens) mass += std::exp(p[t][static_cast<size_t>(id)]);
    nll_reference -= p[t][static_cast<size_t>(windows.ids[t + 1])] - std::log(mass);
    for (size_t k = 0; k < rows.size(); ++k) {
      const double shared = p[t][static_cast<size_t>(rows[k])] - std::log(mass);
      kl += std::exp(shared) * (shared - q[t][k]);
    }
    lost += 1 - mass;
    const auto top = [](const std::vector<double>& x) { return std::max_element(x.begin(), x.end()) - x.begin(); };
    same += top(p[t]) == rows[static_cast<size_t>(top(q[t]))] ? 1 : 0;
  }
  EXPECT_NEAR(c.kl_mean, kl / scored, 1e-4 * kl / scored);
  EXPECT_NEAR(std::log(c.ppl), nll / scored, 1e-5);
  EXPECT_NEAR(std::log(c.ppl_reference), nll_reference / scored, 1e-5);
  EXPECT_GT(c.lost_mass, 0.001);
  EXPECT_NEAR(c.lost_mass, lost / scored, 1e-5);
  EXPECT_DOUBLE_EQ(c.top1, same / scored);

  Windows other = windows;
  other.ids[5] = static_cast<int32_t>(std::find(keep.begin(), keep.end(), false) - keep.begin());
  const std::string said = test::refusal([&] { verify(original(), std::span(&side, 1), other); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, fmt::format("position 5 of the text is token {}", other.ids[5]))) << said;
}

TEST(Correspondence, WhatItDoesNotExplainIsRefusedWithBothShapes) {
  const Cut cut([](Tensors& tensors, json& config) { keep_layers({0, 1, 3}, tensors, config); });
  const Artifact packed = open_artifact(cut.dir.path());
  const auto said = [&](const Correspondence& map) {
    const VerifySide side{&packed, VerifyMode::float32, &map};
    return test::refusal([&] { verify(original(), std::span(&side, 1), windows_of(original())); },
                         ErrorKind::bad_input);
  };
  const std::string none = said({});
  EXPECT_TRUE(test::mentions(none, "its number of layers is 3, not 4; a kerf-correspondence.json")) << none;
  EXPECT_TRUE(
      test::mentions(said({.layers = {0, 1}}), "keeps 2 under \"layers\", and the model's number of layers is 3"));
  EXPECT_TRUE(test::mentions(said({.layers = {0, 1, 4}}), "says 4 under \"layers\""));
  EXPECT_TRUE(test::mentions(said({.layers = {0, 2, 1}}), "says 1 under \"layers\""));
  EXPECT_TRUE(test::mentions(said({.layers = {0, 1, 3}, .axes = {{"depth", {{1}}}}}), "names the axis \"depth\""));
  EXPECT_TRUE(test::mentions(said({.layers = {0, 1, 3}, .axes = {{"ffn", {{1}}}}}), "keeps 1 under \"axes: ffn\""));
}

TEST(Correspondence, DamagedFilesAreRefused) {
  const test::TempDir dir;
  EXPECT_TRUE(read_correspondence(dir.path()).identity());
  const auto said = [&](const std::string& text) {
    write_text(dir / kCorrespondenceFile, text);
    return test::refusal([&] { read_correspondence(dir.path()); }, ErrorKind::bad_input);
  };
  EXPECT_TRUE(test::mentions(said("[]"), "is not a JSON object"));
  EXPECT_TRUE(test::mentions(said(R"({"layers": 3})"), "layers must be a list of whole numbers, not 3"));
  EXPECT_TRUE(test::mentions(said(R"({"layers": []})"), "keeps nothing"));
  EXPECT_TRUE(test::mentions(said(R"({"layers": [0, 0]})"), "layers: entry 1 is 0"));
  EXPECT_TRUE(test::mentions(said(R"({"tokens": [0, -1]})"), "tokens: entry 1 is -1"));
  EXPECT_TRUE(test::mentions(said(R"({"tokens": [0, 1e3]})"), "tokens: entry 1 is 1000.0"));
  EXPECT_TRUE(test::mentions(said(R"({"axes": {"ffn": 0}})"), "axes: ffn must be a list"));
  EXPECT_TRUE(test::mentions(said(R"({"layer": [0]})"), "unknown key \"layer\""));
  EXPECT_TRUE(test::mentions(said(R"({"version": 2})"), "version 2; kerf knows 1"));
}

}  // namespace
}  // namespace kerf
