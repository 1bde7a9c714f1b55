#include "targets/target.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "model/arch/family.h"
#include "targets/compressed_tensors.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

TEST(EveryTarget, ListsSchemesAndRulesAndHasADefault) {
  for (const Target* t : all_targets()) {
    EXPECT_FALSE(t->schemes().empty());
    EXPECT_FALSE(t->rules().empty());
    const std::string scheme = t->canonical("");
    EXPECT_EQ(t->canonical(scheme), scheme) << "canonical names are stable";
    const Storage s =
        t->storage(scheme, {.name = "q", .gguf = "blk.0.attn_q.weight", .out = 256, .in = 256}, Dtype::bf16);
    ASSERT_EQ(s.layout == nullptr, t->name() == "checkpoint");  // which packs nothing
    EXPECT_FALSE(s.layout && s.layout->refuses(s.scheme, 256, 256));
    EXPECT_GE(t->width_multiple(scheme), 1);
  }
}

TEST(ParseTarget, NamesTheChoicesWhenThereIsNone) {
  EXPECT_EQ(parse_target("llama.cpp-cpu:q8_0").text(), "llama.cpp-cpu:Q8_0");
  EXPECT_EQ(parse_target("vllm").text(), "vllm:w4a16") << "the model's widths decide the group";
  EXPECT_EQ(parse_target("vllm:W4A16_ASYM").text(), "vllm:w4a16-asym") << "as llm-compressor spells it";
  EXPECT_EQ(parse_target("vllm:FP8-Block").text(), "vllm:fp8-block");
  EXPECT_TRUE(test::mentions(test::refusal([] { parse_target("tensorflow"); }, ErrorKind::usage), "llama.cpp-cpu"));
  EXPECT_TRUE(test::mentions(test::refusal([] { parse_target("llama.cpp-cpu:Q9_9"); }, ErrorKind::usage), "Q4_0"));
  for (const char* bad : {"vllm:w4a16-g", "vllm:w4a16-g0", "vllm:w4a16-g12x", "vllm:w9a16", "vllm:w4a16-asym-g32",
                          "vllm:w4a16-g99999999999"})
    EXPECT_TRUE(test::mentions(test::refusal([&] { parse_target(bad); }, ErrorKind::usage), "w4a16-g128")) << bad;
}

// What people say of runtimes and formats, schemes in place of targets, and typing mistakes.
TEST(ParseTarget, SuggestsWhatWasMeant) {
  const std::pair<const char*, const char*> cases[] = {
      {"gguf", "did you mean llama.cpp-cpu?"},
      {"GGUF:Q4_K_M", "did you mean llama.cpp-cpu:Q4_K_M?"},
      {"ollama", "did you mean llama.cpp-cpu?"},
      {"llama.cpp:q8_0", "did you mean llama.cpp-cpu:Q8_0?"},
      {"llama.cpp-cpu-Q4_0", "did you mean llama.cpp-cpu:Q4_0?"},
      {"gptq", "did you mean transformers-gptq?"},
      {"gptq:w4-g64", "did you mean transformers-gptq:w4-g64?"},
      {"compressed-tensors", "did you mean vllm?"},
      {"VLLM:w8a8", "did you mean vllm:w8a8?"},
      {"vllm/w4a16-g32", "did you mean vllm:w4a16-g32?"},
      {"vlm", "did you mean vllm?"},
      {"olama", "did you mean llama.cpp-cpu?"},
      {"autowaq", "did you mean awq?"},
      {"mlx", "the nearest is llama.cpp-cpu"},
      {"onnx:int4", "the nearest is llama.cpp-cpu"},
      {"Q4_K_M", "that is a scheme; did you mean llama.cpp-cpu:Q4_K_M?"},
      {"w4a16", "that is a scheme; did you mean vllm:w4a16?"},
      {"fp8", "that is a scheme; did you mean vllm:fp8?"},
      {"Q4_0:llama.cpp-cpu", "did you mean llama.cpp-cpu:Q4_0?"},
      {"tensorflow", "there is no target 'tensorflow'. The targets are"}};
  for (const auto& [text, said] : cases) {
    const std::string sentence = test::refusal([&, t = text] { parse_target(t); }, ErrorKind::usage);
    EXPECT_TRUE(test::mentions(sentence, said)) << sentence;
    EXPECT_TRUE(test::mentions(sentence, "The targets are")) << sentence;
  }
  const std::string both = test::refusal([] { parse_target("w4-g128"); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(both, "awq:w4-g128")) << both;
  EXPECT_TRUE(test::mentions(both, "transformers-gptq:w4-g128")) << both;
  const std::string scheme = test::refusal([] { parse_target("llama.cpp-cpu:Q4_KM"); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(scheme, "did you mean Q4_K_M?")) << scheme;
}

TEST(EveryTarget, FitsAnOpenGroupToTheWidths) {
  const std::pair<std::vector<int64_t>, const char*> cases[] = {
      {{256, 768}, "-g128"}, {{576, 1536}, "-g64"}, {{288, 768}, "-g32"}, {{48, 80}, "-g16"}, {{64, 172}, "-channel"}};
  for (const auto& [widths, group] : cases) {
    EXPECT_EQ(find_target("vllm").fitted("w4a16", widths), fmt::format("w4a16{}", group));
    EXPECT_EQ(find_target("vllm").fitted("w8a16-asym", widths), fmt::format("w8a16{}-asym", group));
    EXPECT_EQ(find_target("awq").fitted("w4-sym", widths), fmt::format("w4{}-sym", group));
    EXPECT_EQ(find_target("transformers-gptq").fitted("w3-asym-v2", widths), fmt::format("w3{}-asym-v2", group));
    EXPECT_EQ(find_target("vllm").fitted("w4a16-g128", widths), "w4a16-g128") << "what was said stays";
    EXPECT_EQ(find_target("vllm").fitted("fp8", widths), "fp8");
    EXPECT_EQ(find_target("llama.cpp-cpu").fitted("Q4_K_M", widths), "Q4_K_M");
  }
}

TEST(LlamaCpp, StoresRowsOutsideTheBlocksAsF16AndSaysSo) {
  const Target& t = find_target("llama.cpp-cpu");
  const Storage odd =
      t.storage("Q4_0", {.name = "down", .gguf = "blk.0.ffn_down.weight", .out = 64, .in = 172}, Dtype::f32);
  EXPECT_FALSE(odd.layout);
  EXPECT_EQ(odd.dense, Dtype::f16);
  EXPECT_TRUE(test::mentions(odd.remark, "172"));
  const Storage embedding = t.storage("Q4_0",
                                      {.name = "e",
                                       .gguf = "token_embd.weight",
                                       .place = SitePlace::embedding,
                                       .out = 512,
                                       .in = 64,
                                       .model = {.tied = true}},
                                      Dtype::f32);
  EXPECT_EQ(embedding.layout->name(), "gguf-q8_0");
}

TEST(LlamaCpp, RefusesTypesWithoutALayoutAndWidthsWithoutASubstitute) {
  const Target& t = find_target("llama.cpp-cpu");
  const auto refused = [&](const char* scheme, int64_t in) {
    return test::refusal(
        [&] { t.storage(scheme, {.name = "q", .gguf = "blk.0.attn_q.weight", .out = 64, .in = in}, Dtype::f32); },
        ErrorKind::unsupported);
  };
  EXPECT_TRUE(test::mentions(refused("Q8_K-pure", 256), "Q8_K"));
  EXPECT_TRUE(test::mentions(refused("Q1_0", 288), "blocks of 128"));
}

// A model of one layer with heads of this size.
Architecture with_heads_of(int64_t head_dim) {
  return describe_architecture({{"architectures", {"LlamaForCausalLM"}},
                                {"model_type", "llama"},
                                {"hidden_size", 2 * head_dim},
                                {"intermediate_size", 64},
                                {"max_position_embeddings", 64},
                                {"num_attention_heads", 2},
                                {"num_hidden_layers", 1},
                                {"vocab_size", 64}});
}

TEST(LlamaCpp, AttendsAsItDoesByDefaultUnlessItsUserSaysOtherwise) {
  const Target& t = find_target("llama.cpp-cpu");
  const Architecture a = with_heads_of(64);
  EXPECT_EQ(t.arithmetic_with({}, a).ggml_attention, (GgmlAttention{.flash = true, .cache = KvCache::f16}));
  EXPECT_EQ(t.arithmetic_with({.flash_attention = false}, a).ggml_attention,
            (GgmlAttention{.flash = false, .cache = KvCache::f16}));
  for (const char* cache : {"f16", "f32", "q8_0", "q4_0"}) {
    const RuntimeSettings settings{.flash_attention = true, .kv_cache = cache};
    EXPECT_EQ(t.settings_of(t.arithmetic_with(settings, a)), settings);
  }
}

TEST(LlamaCpp, RefusesACacheThatLlamaCppRefuses) {
  const Target& t = find_target("llama.cpp-cpu");
  const auto refused = [&](const RuntimeSettings& s, int64_t head_dim, ErrorKind kind) {
    return test::refusal([&] { t.arithmetic_with(s, with_heads_of(head_dim)); }, kind);
  };
  for (const char* cache : {"q8_0", "q4_0"}) {
    EXPECT_TRUE(test::mentions(refused({.flash_attention = false, .kv_cache = cache}, 64, ErrorKind::usage),
                               "without flash attention"));
    EXPECT_TRUE(test::mentions(refused({.kv_cache = cache}, 48, ErrorKind::unsupported), "heads of 48"));
  }
  EXPECT_TRUE(
      test::mentions(refused({.flash_attention = false, .kv_cache = "f32"}, 64, ErrorKind::unsupported), "f32"));
  EXPECT_TRUE(test::mentions(refused({.kv_cache = "bf16"}, 64, ErrorKind::usage), "f16, f32, q8_0, q4_0"));
}

TEST(EveryTarget, RefusesSettingsThatItsRuntimeDoesNotHave) {
  const Architecture a = with_heads_of(64);
  for (const Target* t : all_targets()) {
    const RuntimeSettings all = t->settings_of(t->arithmetic_with({}, a));
    for (const RuntimeSettings& given :
         {RuntimeSettings{.flash_attention = true}, RuntimeSettings{.kv_cache = "f16"}}) {
      if (all.any())
        EXPECT_EQ(t->settings_of(t->arithmetic_with(given, a)), all) << t->name();
      else
        EXPECT_TRUE(test::mentions(test::refusal([&] { t->arithmetic_with(given, a); }, ErrorKind::usage),
                                   std::string(t->name())));
    }
  }
}

TEST(Vllm, RefusesAGroupThatDoesNotDivideAndNamesThoseThatDo) {
  const SiteShape site{.name = "model.q", .gguf = "blk.0.attn_q.weight", .out = 288, .in = 288};
  const std::string said =
      test::refusal([&] { find_target("vllm").storage("w4a16-g128", site, Dtype::f32); }, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "model.q"));
  EXPECT_TRUE(test::mentions(said, "g32"));
  const Storage slow = find_target("vllm").storage("w4a16-g32", site, Dtype::f32);
  EXPECT_TRUE(test::mentions(slow.remark, "slow path"));
  const Storage fast = find_target("vllm").storage(
      "w4a16-g32", {.name = "q", .gguf = "blk.0.attn_q.weight", .out = 256, .in = 256}, Dtype::bf16);
  EXPECT_EQ(fast.remark, "");
}

SiteShape square(const char* name, int64_t n) {
  return {.name = name, .gguf = "blk.0.attn_q.weight", .out = n, .in = n};
}

TEST(Vllm, HoldsTwoToEightBitsAndSaysWhichOnlyTransformersLoads) {
  const Target& t = find_target("vllm");
  EXPECT_EQ(t.canonical("w3a16-channel-asym"), "w3a16-channel-asym");
  EXPECT_EQ(t.canonical("w4a16-asym"), "w4a16-asym");
  EXPECT_TRUE(test::mentions(t.storage("w3a16-g32", square("q", 256), Dtype::bf16).remark, "transformers"));
  EXPECT_EQ(t.storage("w4a16-g32-asym", square("q", 256), Dtype::bf16).remark, "");
  EXPECT_TRUE(test::mentions(t.storage("w8a16-g32-asym", square("q", 256), Dtype::bf16).remark, "slow path"));
}

TEST(TransformersGptq, SpellsItsSchemesOneWay) {
  const Target& t = find_target("transformers-gptq");
  EXPECT_EQ(t.canonical(""), "w4");
  EXPECT_EQ(t.canonical("w3-channel-asym-v2"), "w3-channel-asym-v2");
  for (const char* bad : {"w5-g128", "w4a16-g128", "w4-g128-v2-asym", "w4-g-1", "w04-g128", "w4-g0128", "w4-g128-sym"})
    EXPECT_TRUE(test::mentions(test::refusal([&] { (void)t.canonical(bad); }, ErrorKind::usage), "w4-g128")) << bad;
}

TEST(TransformersGptq, NamesTheGroupsThatItsRuntimeTakes) {
  const Target& t = find_target("transformers-gptq");
  const auto said = [&](const char* scheme, const SiteShape& site) {
    return test::refusal([&] { t.storage(scheme, site, Dtype::f32); }, ErrorKind::unsupported);
  };
  // 96 divides 288, but gptqmodel has no kernel for it.
  EXPECT_TRUE(test::mentions(said("w4-g96", square("q", 288)), "g16, g32 or channel"));
  EXPECT_TRUE(test::mentions(said("w4-g64", square("q", 288)), "g16, g32 or channel"));
  EXPECT_TRUE(test::mentions(said("w3-channel", square("q", 40)), "divisible by 32"));
  EXPECT_EQ(t.storage("w4-g32-asym", square("q", 288), Dtype::f32).scheme.levels[1].lowest, 1);
  EXPECT_TRUE(test::mentions(t.storage("w4-g32-asym", square("q", 288), Dtype::f32).remark, "-v2"));
  EXPECT_EQ(t.storage("w4-g32-asym-v2", square("q", 288), Dtype::f32).scheme.levels[1].lowest, 0);
}

TEST(TransformersGptq, DescribesEverySiteThatDiffers) {
  const Target& t = find_target("transformers-gptq");
  const auto stored = [&](const char* name, const char* scheme) {
    const SiteShape site = square(name, 64);
    return StoredSite{site, t.storage(scheme, site, Dtype::bf16)};
  };
  const StoredSite sites[] = {
      {{.name = "e.weight", .gguf = "token_embd.weight", .place = SitePlace::embedding}, {.dense = Dtype::bf16}},
      stored("a.weight", "w4-g32"),
      stored("b.weight", "w4-g32"),
      stored("c.c.weight", "w8-channel"),
      {square("d.weight", 64), {.dense = Dtype::bf16}}};
  EXPECT_TRUE(test::mentions(t.remark_on(sites), "transformers does not"));
  EXPECT_EQ(t.remark_on(std::span(sites).first(3)), "");
  nlohmann::ordered_json config = {{"torch_dtype", "bfloat16"}};
  t.configure(config, "w4-g32", sites);
  const auto& q = config["quantization_config"];
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(q["bits"], 4);
  EXPECT_EQ(q["group_size"], 32);
  EXPECT_EQ(q["checkpoint_format"], "gptq");
  EXPECT_EQ(q["dynamic"]["+:^c\\.c$"], nlohmann::ordered_json({{"bits", 8}, {"group_size", -1}, {"sym", true}}));
  EXPECT_EQ(q["dynamic"]["-:^d$"], nlohmann::ordered_json::object());
  EXPECT_EQ(q["modules_in_block_to_quantize"], nlohmann::ordered_json::parse(R"([["a", "b", "c.c"]])"));
  const auto files = t.companions(config);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "quantize_config.json");
  EXPECT_EQ(nlohmann::ordered_json::parse(files[0].text), q);
}

TEST(TransformersGptq, MakesAFloat32ModelAFloat16One) {
  nlohmann::ordered_json config = {{"dtype", "float32"}};
  const StoredSite site{square("a.weight", 64),
                        find_target("transformers-gptq").storage("w4-g32", square("a", 64), Dtype::f32)};
  find_target("transformers-gptq").configure(config, "w4-g32", {&site, 1});
  EXPECT_EQ(config["dtype"], "float16");
  EXPECT_FALSE(config.contains("torch_dtype"));
}

TEST(Awq, TakesOneGroupForAllAndLeavesTheRestDense) {
  const Target& t = find_target("awq");
  EXPECT_EQ(t.canonical("w4-g32-sym"), "w4-g32-sym");
  EXPECT_TRUE(test::mentions(test::refusal([&] { (void)t.canonical("w3-g128"); }, ErrorKind::usage), "w4"));
  EXPECT_TRUE(test::mentions(
      test::refusal([&] { t.storage("w4-g96", square("q", 288), Dtype::f32); }, ErrorKind::unsupported), "g16, g32"));
  EXPECT_TRUE(test::mentions(
      test::refusal(
          [&] {
            t.storage("w4-channel", {.name = "q", .gguf = "blk.0.attn_q.weight", .out = 12, .in = 32}, Dtype::f16);
          },
          ErrorKind::unsupported),
      "8 outputs"));
  const auto stored = [&](const char* name, const char* scheme) {
    return StoredSite{square(name, 64), t.storage(scheme, square(name, 64), Dtype::f16)};
  };
  nlohmann::ordered_json config;
  const StoredSite good[] = {
      stored("a.weight", "w4-g32"),
      {square("d.weight", 64), {.dense = Dtype::f16}},
      {{.name = "e.weight", .gguf = "token_embd.weight", .place = SitePlace::embedding}, {.dense = Dtype::f16}}};
  t.configure(config, "w4-g32", good);
  EXPECT_EQ(config["quantization_config"]["group_size"], 32);
  EXPECT_EQ(config["quantization_config"]["modules_to_not_convert"], nlohmann::ordered_json({"d"}));
  const StoredSite two[] = {stored("a.weight", "w4-g32"), stored("b.weight", "w4-g64")};
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { t.configure(config, "w4-g32", two); }, ErrorKind::unsupported), "one group"));
}

TEST(Vllm, LeavesTheVocabularyInTheModelsType) {
  const Storage s = find_target("vllm").storage(
      "w4a16-g32", {.name = "e", .gguf = "token_embd.weight", .place = SitePlace::embedding, .out = 512, .in = 64},
      Dtype::bf16);
  EXPECT_FALSE(s.layout);
  EXPECT_EQ(s.dense, Dtype::bf16);
}

TEST(Vllm, StoresEightBitSchemesByChannelTensorAndBlock) {
  const Target& t = find_target("vllm");
  const SiteShape site = square("q", 256);
  EXPECT_EQ(t.storage("w8a8", site, Dtype::bf16).scheme, symmetric_int(8, 0, Dtype::bf16));
  EXPECT_EQ(t.storage("fp8", site, Dtype::bf16).scheme, fp8({1, 0}, Dtype::bf16));
  EXPECT_EQ(t.storage("fp8-tensor", site, Dtype::bf16).scheme, fp8({0, 0}, Dtype::bf16));
  EXPECT_EQ(t.storage("fp8-block", site, Dtype::bf16).scheme, fp8({128, 128}, Dtype::bf16));
  EXPECT_TRUE(t.storage("fp8-tensor", site, Dtype::bf16).fused_scale);
  EXPECT_FALSE(t.storage("fp8", site, Dtype::bf16).fused_scale);
  EXPECT_TRUE(test::mentions(t.storage("w8a8", square("q", 40), Dtype::bf16).remark, "slow path"));
  EXPECT_TRUE(test::mentions(test::refusal([&] { (void)t.canonical("fp8-rows"); }, ErrorKind::usage), "fp8-block"));
}

TEST(Vllm, RefusesBlocksThatItsLoaderRefuses) {
  const Target& t = find_target("vllm");
  const auto shape = [](bool followed, int64_t out, int64_t in) {
    return SiteShape{.name = "m", .out = out, .in = in, .followed_in_fused = followed};
  };
  const auto refused = [&](const SiteShape& s) {
    return test::refusal([&] { t.storage("fp8-block", s, Dtype::bf16); }, ErrorKind::unsupported);
  };
  EXPECT_TRUE(test::mentions(refused(shape(false, 256, 288)), "input width"));
  EXPECT_TRUE(test::mentions(refused(shape(true, 96, 256)), "fused"));
  EXPECT_EQ(t.storage("fp8-block", shape(false, 96, 256), Dtype::bf16).remark, "") << "the last of its stack";
  EXPECT_EQ(t.storage("fp8-block", shape(false, 288, 256), Dtype::bf16).remark, "");
}

TEST(CompressedTensorsConfig, SaysHowActivationsAreRounded) {
  const auto described = [](const char* scheme) {
    const StoredSite site{square("q", 256), find_target("vllm").storage(scheme, square("q", 256), Dtype::bf16)};
    return compressed_tensors_config({&site, 1});
  };
  const auto w8a8 = described("w8a8");
  EXPECT_EQ(w8a8["format"], "int-quantized");
  const auto& ints = w8a8["config_groups"]["group_0"];
  EXPECT_EQ(ints["weights"]["strategy"], "channel");
  EXPECT_EQ(ints["input_activations"]["type"], "int");
  EXPECT_EQ(ints["input_activations"]["strategy"], "token");
  EXPECT_EQ(ints["input_activations"]["dynamic"], true);
  EXPECT_EQ(described("fp8-tensor")["config_groups"]["group_0"]["weights"]["strategy"], "tensor");
  const auto block = described("fp8-block");
  EXPECT_EQ(block["format"], "float-quantized");
  const auto& blocks = block["config_groups"]["group_0"];
  EXPECT_EQ(blocks["weights"]["type"], "float");
  EXPECT_EQ(blocks["weights"]["block_structure"], nlohmann::ordered_json({128, 128}));
  EXPECT_EQ(blocks["input_activations"]["strategy"], "group");
  EXPECT_EQ(blocks["input_activations"]["group_size"], 128);
}

StoredSite packed_site(const std::string& module, const Scheme& scheme) {
  return {{.name = module + ".weight", .gguf = "blk.0.attn_q.weight", .out = 64, .in = 256},
          {.layout = &find_layout("ct-pack"), .scheme = scheme}};
}

TEST(CompressedTensorsConfig, ListsWhatDiffersByNameAndIgnoresWhatIsDense) {
  const Scheme four = symmetric_int(4, 32, Dtype::bf16), eight = symmetric_int(8, 0, Dtype::bf16);
  const StoredSite sites[] = {
      {{.name = "model.embed.weight", .gguf = "token_embd.weight", .place = SitePlace::embedding},
       {.dense = Dtype::bf16}},
      {{.name = "lm_head.weight", .gguf = "output.weight", .place = SitePlace::head}, {.dense = Dtype::bf16}},
      packed_site("a", eight),
      packed_site("b", four),
      packed_site("c", four),
      {{.name = "d.weight", .gguf = "blk.0.attn_q.weight"}, {.dense = Dtype::bf16}}};
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
