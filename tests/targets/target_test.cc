#include "targets/target.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "targets/compressed_tensors.h"

namespace kerf {
namespace {

std::string sentence_of(const std::function<void()>& f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

bool mentions(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(EveryTarget, ListsSchemesAndRulesAndHasADefault) {
  for (const Target* t : all_targets()) {
    EXPECT_FALSE(t->schemes().empty());
    EXPECT_FALSE(t->rules().empty());
    const std::string scheme = t->canonical("");
    EXPECT_EQ(t->canonical(scheme), scheme) << "canonical names are stable";
    const Storage s = t->storage(scheme, {.role = "attn_q", .name = "q", .out = 256, .in = 256}, Dtype::bf16);
    ASSERT_TRUE(s.layout);
    EXPECT_FALSE(s.layout->refuses(s.scheme, 256, 256));
  }
}

TEST(ParseTarget, NamesTheChoicesWhenThereIsNone) {
  EXPECT_EQ(parse_target("llama.cpp-cpu:q8_0").text(), "llama.cpp-cpu:Q8_0");
  EXPECT_EQ(parse_target("vllm").text(), "vllm:w4a16-g128");
  EXPECT_TRUE(mentions(sentence_of([] { parse_target("tensorflow"); }, ErrorKind::usage), "llama.cpp-cpu"));
  EXPECT_TRUE(mentions(sentence_of([] { parse_target("llama.cpp-cpu:Q9_9"); }, ErrorKind::usage), "Q4_0"));
  for (const char* bad : {"vllm:w4a16-g", "vllm:w4a16-g0", "vllm:w4a16-g12x", "vllm:w5a16", "vllm:w4a16-g99999999999"})
    EXPECT_TRUE(mentions(sentence_of([&] { parse_target(bad); }, ErrorKind::usage), "w4a16-g128")) << bad;
}

TEST(LlamaCpp, StoresRowsOutsideTheBlocksAsF16AndSaysSo) {
  const Target& t = find_target("llama.cpp-cpu");
  const Storage odd = t.storage("Q4_0", {.role = "ffn_down", .name = "down", .out = 64, .in = 172}, Dtype::f32);
  EXPECT_FALSE(odd.layout);
  EXPECT_EQ(odd.dense, Dtype::f16);
  EXPECT_TRUE(mentions(odd.remark, "172"));
  const Storage embedding = t.storage("Q4_0", {.role = "token_embd", .name = "e", .out = 512, .in = 64}, Dtype::f32);
  EXPECT_EQ(embedding.layout->name(), "gguf-q8_0");
}

TEST(Vllm, RefusesAGroupThatDoesNotDivideAndNamesThoseThatDo) {
  const SiteShape site{.role = "attn_q", .name = "model.q", .out = 288, .in = 288};
  const std::string said =
      sentence_of([&] { find_target("vllm").storage("w4a16-g128", site, Dtype::f32); }, ErrorKind::unsupported);
  EXPECT_TRUE(mentions(said, "model.q"));
  EXPECT_TRUE(mentions(said, "g32"));
  const Storage slow = find_target("vllm").storage("w4a16-g32", site, Dtype::f32);
  EXPECT_TRUE(mentions(slow.remark, "slow path"));
  const Storage fast =
      find_target("vllm").storage("w4a16-g32", {.role = "attn_q", .name = "q", .out = 256, .in = 256}, Dtype::bf16);
  EXPECT_EQ(fast.remark, "");
}

TEST(Vllm, LeavesTheVocabularyInTheModelsType) {
  const Storage s =
      find_target("vllm").storage("w4a16-g32", {.role = "token_embd", .name = "e", .out = 512, .in = 64}, Dtype::bf16);
  EXPECT_FALSE(s.layout);
  EXPECT_EQ(s.dense, Dtype::bf16);
}

StoredSite packed_site(const std::string& module, const Scheme& scheme) {
  return {{.role = "attn_q", .name = module + ".weight", .out = 64, .in = 256},
          {.layout = &find_layout("ct-pack"), .scheme = scheme}};
}

TEST(CompressedTensorsConfig, ListsWhatDiffersByNameAndIgnoresWhatIsDense) {
  const Scheme four = symmetric_int(4, 32, Dtype::bf16), eight = symmetric_int(8, 0, Dtype::bf16);
  const StoredSite sites[] = {{{.role = "token_embd", .name = "model.embed.weight"}, {.dense = Dtype::bf16}},
                              {{.role = "output", .name = "lm_head.weight"}, {.dense = Dtype::bf16}},
                              packed_site("a", eight),
                              packed_site("b", four),
                              packed_site("c", four),
                              {{.role = "attn_q", .name = "d.weight"}, {.dense = Dtype::bf16}}};
  const auto config = compressed_tensors_config(sites);
  EXPECT_EQ(config["format"], "pack-quantized");
  EXPECT_EQ(config["ignore"], nlohmann::ordered_json({"lm_head", "d"}));
  ASSERT_EQ(config["config_groups"].size(), 2u);
  const auto& eights = config["config_groups"]["group_0"];
  EXPECT_EQ(eights["targets"], nlohmann::ordered_json({"a"}));
  EXPECT_EQ(eights["weights"]["num_bits"], 8);
  EXPECT_EQ(eights["weights"]["strategy"], "channel");
  const auto& fours = config["config_groups"]["group_1"];
  EXPECT_EQ(fours["targets"], nlohmann::ordered_json({"Linear"}));
  EXPECT_EQ(fours["weights"]["group_size"], 32);
}

}  // namespace
}  // namespace kerf
