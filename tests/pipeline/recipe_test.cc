// Recipes: what they say, what they refuse, and what their overrides do to a plan.
#include "pipeline/plan/recipe.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/plan/option.h"
#include "pipeline/plan/plan.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "verify/artifact.h"

namespace kerf {
namespace {

const std::string kAll = R"(# everything
targets: [vllm:w4a16-g128, llama.cpp-cpu:Q4_0]
method: rtn
asymmetric: on
hessian: kl
calib: {text: "c d.txt", windows: 64, ctx: 128, seed: 18446744073709551615}
imatrix: a.imatrix
eval:
  text: held.txt
  windows: 0
  ctx: 32
  skip_tokens: 7
gate: kl<0.05,top1>0.9
strict: true
shard_size: 4000000000
overrides:
  - {sites: "model.layers.*.mlp.down_proj", method: rtn}
  - sites: [attn_v, 're:layers\.[0-3]\.']
    method: rtn
)";

TEST(Recipe, SaysAllThatTheCommandLineSays) {
  const Recipe r = parse_recipe(kAll, "r.yaml");
  const Recipe wanted = {.targets = {"vllm:w4a16-g128", "llama.cpp-cpu:Q4_0"},
                         .method = "rtn",
                         .asymmetric = true,
                         .hessian = "kl",
                         .calib = {.text = "c d.txt", .windows = 64, .ctx = 128, .seed = UINT64_MAX},
                         .imatrix = "a.imatrix",
                         .eval = {.text = "held.txt", .ctx = 32, .windows = 0, .skip_tokens = 7},
                         .gate = "kl<0.05,top1>0.9",
                         .strict = true,
                         .shard_bytes = 4'000'000'000,
                         .overrides = {{.sites = {"model.layers.*.mlp.down_proj"}, .method = "rtn"},
                                       {.sites = {"attn_v", "re:layers\\.[0-3]\\."}, .method = "rtn"}}};
  EXPECT_EQ(r, wanted);
}

TEST(Recipe, ComesBackFromTheReport) {
  for (const std::string& text : {kAll, std::string(""), std::string("targets: vllm:w8a16-g32\noverrides: []"),
                                  std::string("calib: {text: \"a\\tb\\\\ \\u00e9 'x' : # \\U0001F600\"}")}) {
    const Recipe r = parse_recipe(text, "r.yaml");
    EXPECT_EQ(recipe_from_json(to_json(r)), r) << text;
  }
  EXPECT_EQ(parse_recipe("", "r.yaml"), Recipe{});
  EXPECT_EQ(parse_recipe("method: null\ncalib: {}", "r.yaml"), Recipe{});
}

TEST(Recipe, TakesSizesAsTheCommandLineDoes) {
  EXPECT_EQ(parse_recipe("shard_size: 2.5MB", "r.yaml").shard_bytes, 2'500'000u);
  EXPECT_EQ(parse_recipe("shard_size: \"1.5 GiB\"", "r.yaml").shard_bytes, 1'610'612'736u);
  EXPECT_EQ(parse_recipe("shard_size: 4000000", "r.yaml").shard_bytes, 4'000'000u);
}

TEST(Recipe, TheCommandLineComesFirst) {
  const Recipe r = parse_recipe(kAll, "r.yaml");
  const Recipe flags = {.targets = {"vllm"}, .calib = {.windows = 3, .ctx = 9}, .imatrix = "b", .gate = "kl<1"};
  Recipe wanted = r;
  EXPECT_EQ(overridden(r, flags, {}), r);
  wanted.targets = {"vllm"};
  wanted.calib.windows = 3;
  EXPECT_EQ(overridden(r, flags, {"targets", "calib.windows"}), wanted);
  EXPECT_THROW(overridden(r, flags, {"no_key"}), Error);
  const nlohmann::ordered_json all = to_json(flags);  // of which every key can be given
  for (const auto& [key, value] : all.items()) {
    if (key == "overrides") continue;
    if (!value.is_object()) {
      EXPECT_NO_THROW(overridden(r, flags, {key}));
      continue;
    }
    for (const auto& [inner, unused] : value.items()) EXPECT_NO_THROW(overridden(r, flags, {key + "." + inner}));
  }
}

TEST(Options, EachIsThereOnceAndComesBackFromARecipe) {
  std::set<std::string_view> flags, keys;
  for (const Option& o : all_options()) {
    SCOPED_TRACE(o.flag);
    EXPECT_TRUE(o.flag.starts_with("--") && flags.insert(o.flag).second);
    EXPECT_FALSE(o.help.empty());
    if (o.key.empty()) continue;
    EXPECT_TRUE(keys.insert(o.key).second);
    // Another value than the initial one, if the kind has one that every option of it can take.
    CompressOptions changed;
    const OptionField field = o.field(structs_of(changed));
    if (auto* const* x = std::get_if<std::filesystem::path*>(&field)) **x = "file";
    if (auto* const* x = std::get_if<int*>(&field)) **x += 1;
    if (auto* const* x = std::get_if<int64_t*>(&field)) **x += 1;
    if (auto* const* x = std::get_if<uint64_t*>(&field)) **x += 1;
    if (auto* const* x = std::get_if<double*>(&field)) **x *= 2;
    if (auto* const* x = std::get_if<std::optional<bool>*>(&field)) **x = false;
    if (const auto* x = std::get_if<Flag>(&field)) *x->value = true;
    if (const auto* x = std::get_if<ByteSize>(&field)) *x->value = 5;
    if (o.key == "targets") changed.targets = {"vllm"};
    if (o.key == "method") changed.method = "gptq";
    if (o.key == "gate") changed.gate = "kl<1";
    if (o.key == "prune") changed.prune = {"2:4", "depth=2"};
    if (o.key == "prune_method") changed.prune_method = "wanda";
    if (o.key == "prune_allocation") changed.prune_allocation = kBySensitivity;
    if (o.key == "hessian") changed.hessian = kKlHessian;
    if (o.key == "eval.kv_cache") changed.eval.runtime.kv_cache = "q8_0";
    if (o.key == "distill.phases") changed.distill.phases = {"blocks", "scales"};
    if (o.key == "distill.steps") changed.distill.steps = {"100", "40"};
    if (o.key == "distill.time") changed.distill.time = "20min";
    if (o.key == "distill.rate") changed.distill.rate = 0.25;
    if (o.key == "distill.tokens") changed.distill.tokens = kAllTokens;
    if (o.key == "dtype") changed.dtype = "float16";
    const Recipe& recipe = changed;
    EXPECT_FALSE(recipe == Recipe{}) << "the test has no other value for it";
    EXPECT_EQ(recipe_from_json(to_json(recipe)), recipe);
    EXPECT_EQ(overridden({}, recipe, {std::string(o.key)}), recipe);
  }
}

TEST(Recipe, IsFoundInReportsOfEveryVersion) {
  test::TempDir dir;
  const auto refusal = [&](const std::string& text, ErrorKind kind) {
    write_text(dir / "report.json", text);
    return test::refusal([&] { read_recipe(dir / "report.json"); }, kind);
  };
  // Of before November 2026: "moved" and "second" have other names now.
  write_text(dir / "report.json", R"({"kerf": "0.1.0", "model": "m", "recipe": {"targets": ["vllm:w4a16-g32"],
    "gptq": {"damping": 0.02, "refine": 3}, "calib": {"text": "c", "windows": 9, "ctx": 8, "seed": 0}, "overrides": []},
    "targets": [{"second": {"arithmetic": "a"}, "calibration": [{"name": "n", "moved": 0.5}]}], "passed": true})");
  const Recipe r = read_recipe(dir / "report.json");
  EXPECT_EQ(r.targets, std::vector<std::string>{"vllm:w4a16-g32"});
  EXPECT_EQ(r.quantizer.refine, 3);
  EXPECT_EQ(r.calib.windows, 9);
  EXPECT_TRUE(test::mentions(refusal(R"({"kerf": "1", "targets": []})", ErrorKind::usage), "holds no recipe"));
  EXPECT_TRUE(test::mentions(refusal(R"({"kerf": "1", "recipe": {"metod": "rtn"}})", ErrorKind::usage), "'metod'"));
  EXPECT_TRUE(test::mentions(refusal(R"({"kerf": "1", "recipe": )" + std::string(200'000, '['), ErrorKind::bad_input),
                             "nests deeper"));
  EXPECT_TRUE(test::mentions(refusal("{method: magic}", ErrorKind::usage), "line 1"));  // YAML, not JSON
}

TEST(Recipe, RefusalsNameTheLineAndTheChoices) {
  struct Case {
    std::string text;
    const char *line, *part;
    ErrorKind kind = ErrorKind::usage;
  };
  const Case cases[] = {
      {"targets: vllm\nmetod: rtn", "line 2", "its keys are targets, method"},
      {"\n- a", "line 2", "a list, not a map"},
      {"just text", "line 1", "a single value, not a map"},
      {"targets:\n  - vllm\n  - nowhere", "line 3", "nowhere"},
      {"targets: vllm:w3", "line 1", "w3"},
      {"targets: []", "line 1", "empty list"},
      {"targets: {a: b}", "line 1", "a map, not a text"},
      {"method: magic", "line 1", "the methods are"},
      {"strict: maybe", "line 1", "'maybe'; it is true or false"},
      {"shard_size: 0", "line 1", "shard_size: '0' is no size"},
      {"shard_size: -1", "line 1", "shard_size: '-1' is no size"},
      {"shard_size: 2,5GB", "line 1", "such as 2.5GB"},
      {"dtype: float64", "line 1", "choose auto, bfloat16"},
      {"gptq: {refine: 101}", "line 1", "at most 100"},
      {"overrides:\n  - {sites: 're:" + std::string(150000, '(') + "', method: rtn}", "line 2",
       "no regular expression"},
      {"hessian: output", "line 1", "there is inputs and kl"},
      {"asymmetric: 1", "line 1", "'1'; it is on or off"},
      {"method: [rtn]", "line 1", "a list, not a text"},
      {"calib:\n  windows: many", "line 2", "'many'; it is a whole number of at least 1"},
      {"calib:\n  windows: '8'", "line 2", "whole number"},
      {"calib: {windows: 0}", "line 1", "at least 1"},
      {"calib: {windows: 1.5}", "line 1", "whole number"},
      {"calib: {ctx: 1}", "line 1", "at least 2"},
      {"calib: {seed: -1}", "line 1", "at least 0"},
      {"calib: {ctx: 99999999999999999999}", "line 1", "whole number"},
      {"calib: {window: 1}", "line 1", "calib has no key 'window'"},
      {"calib: text.txt", "line 1", "a single value, not a map of text, windows"},
      {"eval: {seed: 1}", "line 1", "eval has no key 'seed'"},
      {"gate: kl<<1", "line 1", "kl"},
      {"method: rtn\nmethod: rtn", "line 2", "twice"},
      {"overrides: x", "line 1", "not a list"},
      {"overrides:\n  - {method: rtn}", "line 2", "needs sites"},
      {"overrides:\n  - {sites: x}", "line 2", "needs a scheme, a method or a sparsity"},
      {"overrides:\n  - {sites: x, method: magic}", "line 2", "the methods are"},
      {"overrides:\n  - {sites: 're:(', method: rtn}", "line 2", "no regular expression"},
      {"targets: vllm\noverrides:\n  - {sites: x, scheme: w99}", "line 3", "w99"},
      {"overrides:\n  - {sites: x, scheme: w99, bits: 3}", "line 2", "no key 'bits'"},
      {"a: [1", "line", "not YAML", ErrorKind::bad_input},
      {"a: b: c", "line 1", "not YAML", ErrorKind::bad_input},
      {"\t- x", "line", "not YAML", ErrorKind::bad_input},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const std::string said = test::refusal([&] { parse_recipe(c.text, "r.yaml"); }, c.kind);
    EXPECT_TRUE(test::mentions(said, "r.yaml, " + std::string(c.line))) << said;
    EXPECT_TRUE(test::mentions(said, c.part)) << said;
  }
}

TEST(Recipe, HostileYamlIsRefused) {
  std::string laughs = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c)
    laughs +=
        std::string(1, c) + ": &" + c + " [*" + static_cast<char>(c - 1) + ", *" + static_cast<char>(c - 1) + "]\n";
  for (const std::string& text : {std::string(100000, '['), std::string(100000, '{'), std::string(50000, '-') + " x",
                                  laughs, std::string("targets: &x [*x]"), std::string("\x00\xff\xfe", 3)})
    EXPECT_THROW(parse_recipe(text, "r.yaml"), Error) << text.substr(0, 20);
  // In which the library finds documents without end.
  for (const char* text : {",", ",\x1f", ", targets", "targets: awq\n---\ntargets: vllm\n"})
    EXPECT_TRUE(test::mentions(test::refusal([&] { parse_recipe(text, "r"); }, ErrorKind::usage), "several YAML"));
}

TEST(Recipe, PatternsAreGlobsOrRegularExpressions) {
  const auto fits = [](const char* pattern, const char* tensor, const char* role = "ffn_down") {
    return concerns({.sites = {pattern}}, tensor, role);
  };
  const char* const down = "model.layers.12.mlp.down_proj.weight";
  EXPECT_TRUE(fits("model.layers.*.mlp.down_proj", down));
  EXPECT_TRUE(fits("model.layers.*.mlp.down_proj.weight", down));
  EXPECT_TRUE(fits("*", down));
  EXPECT_TRUE(fits("ffn_down", down));
  EXPECT_TRUE(fits("ffn_*", down));
  EXPECT_TRUE(fits("model.layers.1?.*", down));
  EXPECT_TRUE(fits("re:layers\\.(1[0-9])\\.", down));
  EXPECT_TRUE(fits("re:^ffn_", down));
  EXPECT_FALSE(fits("model.layers.?.mlp.down_proj", down));
  EXPECT_FALSE(fits("down_proj", down));
  EXPECT_FALSE(fits("", down));
  EXPECT_FALSE(fits("re:^down", down));
  EXPECT_TRUE(concerns({.sites = {"x", "ffn_down"}}, down, "ffn_down"));
  const std::string stars(200, '*'), name(2000, 'a');
  EXPECT_FALSE(fits((stars + "b").c_str(), name.c_str()));
  // As in JavaScript.
  EXPECT_TRUE(fits("re:^model\\.layers\\.\\d+\\.(?:mlp|x)\\.[a-z_]+\\.weight$", down));
  EXPECT_TRUE(fits("re:\\bdown_proj\\b", down));
  EXPECT_TRUE(fits("re:(?=mlp)m", down));
  EXPECT_FALSE(fits("re:(?!mlp)mlp", down));
  EXPECT_FALSE(fits("re:Down", down));
  const std::string ten_thousand = "re:" + std::string(10'000, 'x') + "|mlp";
  EXPECT_TRUE(fits(ten_thousand.c_str(), down));
}

TEST(Recipe, APatternThatTakesForeverGivesUp) {
  const std::string name(200, 'a');
  const std::string said =
      test::refusal([&] { concerns({.sites = {"re:^(a+)+$"}}, name + "!", "attn_v"); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(said, "give a simpler one")) << said;
}

TEST(Plan, TheLastOverrideOfASiteCounts) {
  const Artifact model = open_artifact(test::example_dir());
  const TargetChoice choice = parse_target("vllm:w4a16-g32");
  const std::vector<SiteOverride> overrides = {{.sites = {"*.mlp.*"}, .scheme = "w8a16-g32", .method = "a"},
                                               {.sites = {"re:layers\\.1\\.mlp\\.down"}, .scheme = "w4a16-g64"},
                                               {.sites = {"attn_v"}, .method = "b"}};
  const TargetPlan plan = make_plan(model.architecture, choice, "m", false, overrides);
  int seen = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    const bool mlp = m.site.name.find(".mlp.") != std::string::npos;
    const bool down = m.site.name == "model.layers.1.mlp.down_proj.weight";
    EXPECT_EQ(m.scheme, down ? "w4a16-g64" : mlp ? "w8a16-g32" : "w4a16-g32") << m.site.name;
    EXPECT_EQ(m.method, mlp ? "a" : m.site.role == "attn_v" ? "b" : "") << m.site.name;
    EXPECT_EQ(m.storage.layout && m.storage.scheme.bits == 8, mlp && !down) << m.site.name;
    seen += down;
  }
  EXPECT_EQ(seen, 1);
}

TEST(Plan, OverridesChangeItsHashAndNothingElseDoes) {
  const Artifact model = open_artifact(test::example_dir());
  const TargetChoice choice = parse_target("vllm:w4a16-g32");
  const auto hash = [&](const std::vector<SiteOverride>& o) {
    return make_plan(model.architecture, choice, "m", false, o).hash();
  };
  EXPECT_EQ(hash({}), make_plan(model.architecture, choice, "m", false).hash());
  EXPECT_NE(hash({{.sites = {"attn_v"}, .method = "b"}}), hash({}));
  EXPECT_NE(hash({{.sites = {"attn_v"}, .scheme = "w8a16-g32"}}), hash({}));
  EXPECT_EQ(hash({{.sites = {"attn_v"}, .scheme = "w4a16-g32"}}), hash({}));
}

TEST(Plan, EveryDecisionIsInItsHash) {
  const Artifact model = open_artifact(test::example_dir());
  const TargetPlan plan = make_plan(model.architecture, parse_target("llama.cpp-cpu:Q4_0"), "m", false);
  using Edit = void (*)(TargetPlan&);
  const std::pair<const char*, Edit> edits[] = {
      {"name", [](TargetPlan& p) { p.file_name += "x"; }},
      {"shards", [](TargetPlan& p) { p.file.shard_bytes = 1; }},
      {"metadata", [](TargetPlan& p) { p.file.metadata.emplace_back("key", std::string("value")); }},
      {"rows",
       [](TargetPlan& p) {
         p.matrices.back().source_row = {1, 0};
       }},
      {"rows of a bias",
       [](TargetPlan& p) {
         p.vectors[0].source_row = {1, 0};
       }},
      {"type of a norm", [](TargetPlan& p) { p.vectors[0].dtype = Dtype::bf16; }},
      {"constant",
       [](TargetPlan& p) {
         p.constants.push_back({0, {std::byte{1}}});
       }},
      {"one scale", [](TargetPlan& p) { p.matrices.back().storage.fused_scale = true; }},
      {"activations", [](TargetPlan& p) { p.matrices.back().storage.activations = RoundedActivations{.group = 7}; }},
      {"numbers", [](TargetPlan& p) { p.matrices.back().storage.scheme.bits = 5; }},
      {"order", [](TargetPlan& p) { std::swap(p.file.tensors[0], p.file.tensors[1]); }},
      {"method", [](TargetPlan& p) { p.matrices[0].method = "rtn"; }},
  };
  std::set<std::string> hashes = {plan.hash()};
  for (const auto& [what, edit] : edits) {
    TargetPlan other = plan;
    edit(other);
    EXPECT_TRUE(hashes.insert(other.hash()).second) << what;
  }
  TargetPlan integer = plan, text = plan;
  integer.file.metadata = {{"key", uint32_t{0}}};
  text.file.metadata = {{"key", int32_t{0}}};
  EXPECT_NE(integer.hash(), text.hash());
}

TEST(Plan, RefusesOverridesThatConcernNothingOrThatTheTargetLacks) {
  const Artifact model = open_artifact(test::example_dir());
  const auto refusal = [&](const SiteOverride& o) -> std::string {
    try {
      make_plan(model.architecture, parse_target("vllm:w4a16-g32"), "m", false, std::vector{o});
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::usage);
      return e.what();
    }
    return "";
  };
  EXPECT_NE(refusal({.sites = {"mlp.down"}, .method = "rtn"}).find("concerns no matrix"), std::string::npos);
  EXPECT_NE(refusal({.sites = {"attn_v"}, .scheme = "Q4_0"}).find("Q4_0"), std::string::npos);
}

TEST(Recipe, TheReadmesRecipeAndMatrixAreUnderstood) {
  const std::string readme = read_text(test::source_dir() / "README.md");
  const size_t begin = readme.find("# r.yaml"), end = readme.find("```", begin);
  ASSERT_NE(begin, std::string::npos);
  const Recipe r = parse_recipe(readme.substr(begin, end - begin), "README.md");
  const Artifact model = open_artifact(test::example_dir());
  ASSERT_EQ(r.targets.size(), 1u);
  EXPECT_NO_THROW(make_plan(model.architecture, parse_target(r.targets[0]), "m", false, r.overrides, true));
  EXPECT_EQ(r.overrides.size(), 2u);
  const size_t matrix = readme.find("target: [\""), line_end = readme.find('\n', matrix);
  ASSERT_NE(matrix, std::string::npos);
  int targets = 0;
  for (size_t at = readme.find('"', matrix); at < line_end; at = readme.find('"', at + 1)) {
    const size_t close = readme.find('"', at + 1);
    EXPECT_NO_THROW(parse_target(readme.substr(at + 1, close - at - 1))) << targets;
    ++targets;
    at = close;
  }
  EXPECT_EQ(targets, 3);
}

}  // namespace
}  // namespace kerf
