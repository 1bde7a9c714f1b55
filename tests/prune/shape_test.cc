#include "prune/shape.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "model/arch/family.h"
#include "prune/slice.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

Architecture model(int64_t heads = 8, int64_t kv_heads = 4, bool tied = true) {
  return describe_architecture({{"model_type", "llama"},
                                {"architectures", {"LlamaForCausalLM"}},
                                {"hidden_size", 64},
                                {"intermediate_size", 192},
                                {"num_hidden_layers", 4},
                                {"num_attention_heads", heads},
                                {"num_key_value_heads", kv_heads},
                                {"head_dim", 8},
                                {"vocab_size", 40},
                                {"max_position_embeddings", 128},
                                {"rms_norm_eps", 1e-5},
                                {"bos_token_id", 1},
                                {"eos_token_id", 7},
                                {"tie_word_embeddings", tied}});
}

// Element i of tensor number k is 1000 k + i.
class Counting final : public TensorSource {
 public:
  explicit Counting(const Architecture& a) {
    for (int64_t layer = -1; layer < a.layers(); ++layer)
      for (const ExpectedTensor& t : a.expected_tensors(layer))
        infos_.push_back({.name = t.name, .dtype = Dtype::f32, .shape = t.shape, .plus = t.plus});
  }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override {
    for (const TensorInfo& t : infos_)
      if (t.name == name) return &t;
    return nullptr;
  }
  void read(const TensorInfo& t, int64_t row, std::span<float> out) const override {
    const auto number = static_cast<float>(&t - infos_.data());
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = 100000 * number + static_cast<float>(row * t.cols() + static_cast<int64_t>(i));
  }

 private:
  std::vector<TensorInfo> infos_;
};

std::vector<float> all_of(const TensorSource& s, const std::string& name) {
  const TensorInfo* t = s.find(name);
  std::vector<float> values(static_cast<size_t>(t->elements()));
  s.read(*t, 0, values);
  return values;
}

TEST(PrunedShape, WidthsAreMultiplesAndHeadsWholeGroups) {
  const Architecture a = model();
  const PrunedShape s = pruned_shape(a, {.depth = 1, .ffn = 0.6, .heads = 0.5}, 32);
  EXPECT_EQ(s.depth, 1);
  EXPECT_EQ(s.cut_of("ffn")->keep, 128);  // 115.2 in multiples of 32
  EXPECT_EQ(s.cut_of("head")->with, "kv");
  EXPECT_EQ(s.cut_of("head")->keep, 2);
  EXPECT_EQ(s.cut_of("head")->group, 16);
  const Architecture small = sliced(a, first_of_everything(a, s));
  const nlohmann::json config = write_config(small);
  EXPECT_EQ(config["num_hidden_layers"], 3);
  EXPECT_EQ(config["intermediate_size"], 128);
  EXPECT_EQ(config["num_attention_heads"], 4);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["head_dim"], 8);
  EXPECT_EQ(config["hidden_size"], 64);
}

TEST(PrunedShape, OneGroupOfHeadsIsPrunedInside) {
  const PrunedShape s = pruned_shape(model(8, 1), {.heads = 0.5}, 1);
  EXPECT_EQ(s.cut_of("head")->with, "");
  EXPECT_EQ(s.cut_of("head")->keep, 4);
  EXPECT_EQ(s.cut_of("head")->family, 8);
}

TEST(PrunedShape, HeadsKeepToTheMultipleWhereTheyCan) {
  const Architecture a = model(8, 8);  // heads of 8
  EXPECT_EQ(pruned_shape(a, {.heads = 0.85}, 1).cut_of("head")->keep, 7);
  EXPECT_EQ(pruned_shape(a, {.heads = 0.7}, 32).cut_of("head")->keep, 4);
  EXPECT_EQ(pruned_shape(a, {.heads = 0.85}, 48).cut_of("head")->keep, 6);  // with which 64 has 16 in common
  EXPECT_EQ(pruned_shape(a, {.heads = 0.85}, 64).cut_of("head")->keep, 7);  // nor any smaller number of heads
  EXPECT_TRUE(test::mentions(test::refusal([&] { pruned_shape(a, {.heads = 0.9}, 32); }, ErrorKind::usage),
                             "give 0.5 or less"));
}

TEST(PrunedShape, SharesThatNoWidthComesNearAreSaid) {
  const Architecture a = model(8, 8);
  const auto missed = [&](const PruneRequest& r) { return shares_missed(a, r, pruned_shape(a, r, 32), 32); };
  EXPECT_EQ(missed({.heads = 0.5}), std::vector<std::string>{});
  EXPECT_EQ(missed({.depth = 1}), std::vector<std::string>{});
  ASSERT_EQ(missed({.ffn = 0.75, .heads = 0.3}).size(), 2u);
  EXPECT_TRUE(
      test::mentions(missed({.heads = 0.3})[0], "heads=0.3: the nearest that can be had is 0.5 (heads: 4 of 8"));
  EXPECT_TRUE(test::mentions(missed({.ffn = 0.75})[0], "in multiples of 32"));
}

TEST(PrunedShape, ItsRequestLeadsToItAgain) {
  const Architecture a = model();
  for (const PruneRequest& r : {PruneRequest{.depth = 2}, PruneRequest{.ffn = 0.4}, PruneRequest{.hidden = 0.55},
                                PruneRequest{.depth = 1, .ffn = 0.9, .heads = 0.7, .hidden = 0.5}}) {
    const PrunedShape s = pruned_shape(a, r, 32), again = pruned_shape(a, parse_prune(request_of(s)), 32);
    EXPECT_EQ(describe(a, s), describe(a, again));
  }
}

TEST(PrunedShape, WhatWouldLeaveNothingOrEverythingIsRefused) {
  const Architecture a = model();
  EXPECT_TRUE(test::mentions(test::refusal([&] { pruned_shape(a, {.depth = 4}, 1); }, ErrorKind::usage),
                             "the model has 4 blocks, of which at least one stays; give 1 to 3"));
  const Architecture one = sliced(a, {.layers = {0}});
  EXPECT_TRUE(test::mentions(test::refusal([&] { pruned_shape(one, {.depth = 1}, 1); }, ErrorKind::usage),
                             "the model has one block, which stays"));
  EXPECT_TRUE(test::mentions(test::refusal([&] { pruned_shape(a, {.ffn = 0.9}, 64); }, ErrorKind::usage),
                             "of 192 channels 192 would stay, in multiples of 64"));
  EXPECT_TRUE(test::mentions(test::refusal([&] { pruned_shape(a, {.heads = 0.95}, 1); }, ErrorKind::usage),
                             "give 0.75 or less"));
}

TEST(PruneRequest, ReadsWhatTheCommandLineSays) {
  const PruneRequest r =
      parse_prune(std::vector<std::string>{"depth=2", "ffn=0.75", "vocab=a.txt", "vocab=b.txt", "2:4"});
  EXPECT_EQ(r.depth, 2);
  EXPECT_EQ(r.ffn, 0.75);
  EXPECT_EQ(r.vocabulary_texts, (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_EQ(r.sparsity->zeros, 2);
  EXPECT_EQ(parse_prune(std::vector<std::string>{"bytes=1.5MB"}).bytes, 1500000u);
  EXPECT_EQ(parse_prune(std::vector<std::string>{"vocab=32000"}).vocabulary, 32000);
  EXPECT_FALSE(parse_prune({}).any());
}

TEST(PruneRequest, SaysWhatIsAllowed) {
  const auto said = [](const std::string& part, ErrorKind kind = ErrorKind::usage) {
    return test::refusal([&] { parse_prune(std::vector<std::string>{part}); }, kind);
  };
  for (const char* part : {"depth=0",    "depth=-1", "depth=1.5", "depth",    "ffn=0",   "ffn=1",    "ffn=-0.1",
                           "ffn=x",      "heads=2",  "hidden=1",  "params=1", "vocab=",  "vocab=-5", "vocab=0.5",
                           "sparsity=1", "4:4",      "0:4",       "3:17",     "width=3", ""})
    EXPECT_FALSE(said(part).empty()) << part;
  EXPECT_TRUE(test::mentions(said("width=3"), "there is depth=N, ffn=SHARE"));
  EXPECT_TRUE(test::mentions(said("experts=2", ErrorKind::unsupported), "no model with experts"));
  test::refusal([] { parse_prune(std::vector<std::string>{"params=0.5", "depth=1"}); }, ErrorKind::usage);
  test::refusal([] { parse_prune(std::vector<std::string>{"params=0.5", "hidden=0.5"}); }, ErrorKind::usage);
  test::refusal([] { parse_prune(std::vector<std::string>{"params=0.5", "bytes=5MB"}); }, ErrorKind::usage);
}

TEST(PruneRequest, TwoValuesOfOneThingAreRefused) {
  const auto said = [](std::vector<std::string> parts) {
    return test::refusal([&] { parse_prune(parts); }, ErrorKind::usage);
  };
  EXPECT_TRUE(test::mentions(said({"ffn=0.5", "depth=1", "ffn=0.75"}), "--prune ffn=0.5 and --prune ffn=0.75"));
  for (const auto& [x, y] : {std::pair{"depth=1", "depth=2"},
                             {"heads=0.5", "heads=0.5"},
                             {"2:4", "sparsity=0.5"},
                             {"sparsity=0.5", "4:8"},
                             {"vocab=100", "vocab=200"},
                             {"bytes=1MB", "bytes=2MB"}})
    EXPECT_TRUE(test::mentions(said({x, y}), "give one of them")) << x;
  EXPECT_EQ(parse_prune(std::vector<std::string>{"vocab=100", "vocab=a.txt"}).vocabulary, 100);
}

TEST(SlicedWeights, AreRowsAndColumnsOfTheOriginal) {
  const Architecture a = model(8, 4, false);
  const Counting whole(a);
  Correspondence kept{.layers = {0, 3},
                      .axes = {{"ffn", {{0, 5, 6}, {1, 2, 191}}},
                               {"head", {{2, 3}, {6, 7}}},
                               {"kv", {{1}, {3}}},
                               {"hidden", {{0, 2, 63}}}},
                      .tokens = {1, 2, 7, 39}};
  const SlicedWeights small(a, whole, kept);
  const Architecture s = sliced(a, kept);
  check_tensors(s, small);
  EXPECT_EQ(s.bos, 0);
  EXPECT_EQ(s.eos, (std::vector<int32_t>{2}));
  const auto from = [&](const std::string& name, int64_t row, int64_t col) {
    const TensorInfo* t = whole.find(name);
    return all_of(whole, name)[static_cast<size_t>(row * t->cols() + col)];
  };
  const std::vector<float> down = all_of(small, "model.layers.1.mlp.down_proj.weight");  // [3, 3]
  EXPECT_EQ(down[1 * 3 + 2], from("model.layers.3.mlp.down_proj.weight", 2, 191));
  const std::vector<float> up = all_of(small, "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(up[2 * 3 + 1], from("model.layers.0.mlp.up_proj.weight", 6, 2));
  const std::vector<float> q = all_of(small, "model.layers.1.self_attn.q_proj.weight");  // [16, 3]
  EXPECT_EQ(q[9 * 3 + 2], from("model.layers.3.self_attn.q_proj.weight", 7 * 8 + 1, 63));
  const std::vector<float> k = all_of(small, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(k[5 * 3], from("model.layers.3.self_attn.k_proj.weight", 3 * 8 + 5, 0));
  EXPECT_EQ(all_of(small, "model.norm.weight")[2], from("model.norm.weight", 63, 0));
  EXPECT_EQ(all_of(small, "model.embed_tokens.weight")[3 * 3 + 1], from("model.embed_tokens.weight", 39, 2));
  EXPECT_EQ(all_of(small, "lm_head.weight")[2 * 3 + 1], from("lm_head.weight", 7, 2));
  // Rows from the middle on.
  const TensorInfo* t = small.find("model.layers.1.self_attn.q_proj.weight");
  std::vector<float> rows(6);
  small.read(*t, 8, rows);
  EXPECT_EQ(rows, std::vector<float>(q.begin() + 24, q.begin() + 30));
}

// Gemma multiplies the embedding by sqrt(hidden), whatever hidden is.
TEST(SlicedWeights, MakeUpForAScalingThatFollowsTheWidth) {
  const Architecture a = describe_architecture({{"model_type", "gemma3_text"},
                                                {"hidden_size", 64},
                                                {"intermediate_size", 96},
                                                {"num_hidden_layers", 2},
                                                {"num_attention_heads", 2},
                                                {"num_key_value_heads", 1},
                                                {"head_dim", 8},
                                                {"vocab_size", 40},
                                                {"max_position_embeddings", 64}});
  const Counting whole(a);
  const Correspondence kept{.axes = {{"hidden", {{0, 2, 5, 63}}}}};
  const SlicedWeights small(a, whole, kept);
  const Architecture s = sliced(a, kept);
  EXPECT_EQ(s.before[1].as<Scale>()->by, 2);
  const float x = all_of(whole, "model.embed_tokens.weight")[3 * 64 + 5];
  EXPECT_FLOAT_EQ(2 * all_of(small, "model.embed_tokens.weight")[3 * 4 + 2], 8 * x);
  // The same embedding is the head, which therefore gives 4 times as much of a norm that gives a fourth.
  const float norm = all_of(whole, "model.norm.weight")[63];
  EXPECT_FLOAT_EQ(4 * (all_of(small, "model.norm.weight")[3] + 1), norm + 1);
  EXPECT_EQ(all_of(small, "model.layers.1.input_layernorm.weight")[1],
            all_of(whole, "model.layers.1.input_layernorm.weight")[2]);
}

TEST(SlicedWeights, OfEverythingAreTheOriginal) {
  const Architecture a = model();
  const Counting whole(a);
  const SlicedWeights same(a, whole, {});
  ASSERT_EQ(same.tensors().size(), whole.tensors().size());
  for (const TensorInfo& t : whole.tensors()) EXPECT_EQ(all_of(same, t.name), all_of(whole, t.name)) << t.name;
}

}  // namespace
}  // namespace kerf
