// From the embedded model to smaller ones, end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "pipeline/runs/compress.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "tests/support/small_model.h"
#include "verify/artifact.h"
#include "verify/correspondence.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

CompressOptions job(const fs::path& out, std::vector<std::string> prune, std::string target = "checkpoint") {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {std::move(target)};
  o.prune = std::move(prune);
  o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 16, .ctx = 64};
  o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 64, .windows = 6};
  o.out = out;
  return o;
}

double kl_of(const Report& r) { return r.targets[0].verification->comparison.kl_mean; }

// Every one of these is a plain checkpoint of the shape that its config.json says, and the correction helps.
class Structure : public testing::TestWithParam<const char*> {};

TEST_P(Structure, IsAPlainCheckpointAndTheCorrectionHelps) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "on", {GetParam()});
  o.prune_multiple = 32;
  const Report with = compress(o);
  o.out = dir / "off";
  o.prune_correction = false;
  const Report without = compress(o);
  EXPECT_LT(kl_of(with), kl_of(without));
  EXPECT_GT(kl_of(with), 0);
  EXPECT_LT(with.pruned["parameters"]["after"], with.pruned["parameters"]["before"]);
  const Artifact small = open_artifact(dir / "on");  // checks names and shapes against config.json
  EXPECT_EQ(small.parameters(), with.pruned["parameters"]["after"]);
  const Artifact original = open_artifact(test::example_dir());
  check_correspondence(read_correspondence(dir / "on"), {"original", original.architecture},
                       {"small", small.architecture});
}
INSTANTIATE_TEST_SUITE_P(OneAxis, Structure, testing::Values("depth=1", "ffn=0.75", "heads=0.5", "hidden=0.75"),
                         [](const auto& each) {
                           return std::string(each.param).substr(0, std::string(each.param).find('='));
                         });

// A head of its own is corrected as the other readers of the stream are, and is cut to the tokens that stay.
TEST(PruneStructure, ANarrowStreamBeforeAHeadOfItsOwn) {
  const test::TempDir dir;
  test::write_small_model(dir / "model", [](nlohmann::ordered_json& c) {
    c["tie_word_embeddings"] = false;
    c["num_hidden_layers"] = 2;
  });
  CompressOptions o =
      job(dir / "on", {"hidden=0.75", "depth=1", "vocab=" + (test::example_dir() / "heldout.txt").string()});
  o.model = dir / "model";
  const Report with = compress(o);
  o.out = dir / "off";
  o.prune_correction = false;
  EXPECT_LT(kl_of(with), kl_of(compress(o)));
  EXPECT_EQ(open_artifact(dir / "on").architecture.hidden(), 192);
  EXPECT_TRUE(with.pruned["hidden"]["rotated"]);
}

TEST(PruneStructure, TheSameBytesForAnyNumberOfThreads) {
  const test::TempDir dir;
  std::string before;
  const int threads_before = threads();
  for (const int n : {1, 3}) {
    set_threads(n);
    const fs::path out = dir / std::to_string(n);
    compress(job(out, {"depth=1", "ffn=0.75", "heads=0.5", "hidden=0.75"}));
    const std::string sum = sha256_of(out / "model.safetensors");
    EXPECT_TRUE(before.empty() || before == sum);
    before = sum;
  }
  set_threads(threads_before);
}

TEST(PruneStructure, AllTogetherIntoPackedFiles) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"depth=1", "ffn=0.75", "heads=0.5"}, "llama.cpp-cpu:Q8_0");
  const Report r = compress(o);
  ASSERT_TRUE(r.pruned_model);
  // What 8 bits cost is little beside what pruning did.
  EXPECT_NEAR(kl_of(r), r.pruned_model->comparison.kl_mean, 0.05 * kl_of(r));
  const json report = json::parse(read_text(dir / "out" / "kerf-report.json"));
  EXPECT_EQ(report["pruned"]["axes"].size(), 2u * 3u);  // ffn and heads of each block that is left
  for (const json& cut : report["pruned"]["axes"]) EXPECT_EQ(cut["removed"].size(), cut["importance"].size());
  EXPECT_GT(report["pruned"]["metrics"]["kl_mean"], 0);
  EXPECT_FALSE(fs::exists(dir / "out" / ".kerf-resume"));
  // And again from the report: the same bytes.
  CompressOptions again = job(dir / "again", {}, "");
  static_cast<Recipe&>(again) = read_recipe(dir / "out" / "kerf-report.json");
  again.calib.text = o.calib.text;
  again.eval.text = o.eval.text;
  compress(again);
  EXPECT_EQ(sha256_of(dir / "out" / r.targets[0].files[0].name), sha256_of(dir / "again" / r.targets[0].files[0].name));
}

TEST(PruneStructure, TheReportSaysSpeedsBeforeAndAfter) {
  const test::TempDir dir;
  const auto report_in = [](const fs::path& folder) { return json::parse(read_text(folder / "kerf-report.json")); };
  const auto check = [](const json& speed, const char* arithmetic) {
    EXPECT_EQ(speed["arithmetic"], arithmetic);
    EXPECT_GT(speed["prefill_tokens_per_second"], 0);
    EXPECT_GT(speed["decode_tokens_per_second"], 0);
  };
  CompressOptions o = job(dir / "out", {"depth=1"}, "llama.cpp-cpu:Q8_0");
  o.targets.emplace_back("checkpoint");
  o.method = "rtn";
  o.prune_correction = false;
  o.eval.windows = 1;
  const Report r = compress(o);
  json report = report_in(o.out);
  EXPECT_EQ(report["speed"]["threads"], threads());
  EXPECT_EQ(report["speed"]["ctx"], 128);
  check(report["speed"]["original"], "float32");
  check(report["speed"]["pruned"], "float32");
  check(report["targets"][0]["speed"], "the runtime's");
  check(report["targets"][1]["speed"], "float32");
  EXPECT_EQ(report_in(o.out / "checkpoint-model")["targets"][0]["speed"], report["targets"][1]["speed"]);
  EXPECT_TRUE(test::mentions(to_table(r), "prefill 128"));
  EXPECT_TRUE(test::mentions(read_text(o.out / "checkpoint-model" / "README.md"), "| pruned | float32 | "));
  // The rest is the same every time.
  o.out = dir / "again";
  compress(o);
  json again = report_in(o.out);
  for (json* j : {&report, &again}) {
    j->erase("speed");
    for (json& target : (*j)["targets"]) target.erase("speed");
  }
  EXPECT_EQ(report, again);
  // Zeros leave the shape; without pruning nothing is measured.
  o = job(dir / "zeros", {"2:4"}, "vllm:w4a16-g32");
  compress(o);
  check(report_in(o.out)["speed"]["original"], "float32");
  EXPECT_FALSE(report_in(o.out)["speed"].contains("pruned"));
  check(report_in(o.out)["targets"][0]["speed"], "the runtime's");
  o = job(dir / "unpruned", {});
  const Report unpruned = compress(o);
  EXPECT_FALSE(report_in(o.out).contains("speed"));
  EXPECT_FALSE(test::mentions(to_table(unpruned), "prefill"));
}

TEST(PruneStructure, EachFileIsShownByWhatItWrites) {
  const test::TempDir dir;
  const auto texts_of = [](const CompressOptions& o) {
    const Report r = compress(o);
    const json of_target = json::parse(read_text(o.out / "kerf-report.json"))["targets"][0]["continuations"];
    EXPECT_TRUE(test::mentions(to_table(r), "of the 120 tokens that it writes by itself are the original's"));
    EXPECT_TRUE(test::mentions(read_text(o.out / "README.md"), "## What it writes"));
    EXPECT_EQ(of_target["tokens"], 120);
    EXPECT_EQ(of_target["texts"].size(), 3u);
    for (const json& t : of_target["texts"])
      EXPECT_EQ(t["same_tokens"] == 40, t["original"] == t["packed"]) << t.dump();
    return of_target;
  };
  const json untouched = texts_of(job(dir / "f32", {"sparsity=0.0001"}, "llama.cpp-cpu:F32")),
             halves = texts_of(job(dir / "zeros", {"2:4"}, "llama.cpp-cpu:Q8_0")),
             both = texts_of(job(dir / "both", {"depth=1", "sparsity=0.5"}, "llama.cpp-cpu:Q8_0"));
  EXPECT_GT(untouched["agree"], halves["agree"]);
  EXPECT_GT(halves["agree"], 0);
  EXPECT_LT(both["agree"], untouched["agree"]);
  EXPECT_EQ(untouched["texts"][0]["original"], halves["texts"][0]["original"]);
}

TEST(PruneStructure, AModelThatIsSmallEnoughStaysAsItIs) {
  const test::TempDir dir;
  const Report r = compress(job(dir / "out", {"bytes=100MB"}, "llama.cpp-cpu:F32"));
  EXPECT_EQ(r.pruned["parameters"]["after"], r.pruned["parameters"]["before"]);
  EXPECT_TRUE(r.pruned["choice"]["curve"].empty());
  EXPECT_LT(kl_of(r), 1e-5);  // keys and values in F16
}

TEST(PruneStructure, VocabularyIsTrimmedWithoutLoss) {
  const test::TempDir dir;
  // Both texts: then every token of them is there.
  const std::string calibration = test::example_dir() / "calibration.txt",
                    heldout = test::example_dir() / "heldout.txt";
  CompressOptions o = job(dir / "out", {"vocab=" + calibration, "vocab=" + heldout});
  const Report r = compress(o);
  EXPECT_LT(kl_of(r), 1e-9);
  const Artifact small = open_artifact(dir / "out"), original = open_artifact(test::example_dir());
  const Correspondence map = read_correspondence(dir / "out");
  ASSERT_EQ(static_cast<int64_t>(map.tokens.size()), small.architecture.vocab());
  EXPECT_LT(small.architecture.vocab(), original.architecture.vocab());
  const TensorInfo &mine = *small.weights->find(small.architecture.embedding().name),
                   &theirs = *original.weights->find(original.architecture.embedding().name);
  std::vector<float> a(static_cast<size_t>(mine.cols())), b(a.size());
  for (size_t row = 0; row < map.tokens.size(); ++row) {
    small.weights->read(mine, static_cast<int64_t>(row), a);
    original.weights->read(theirs, map.tokens[row], b);
    ASSERT_EQ(a, b) << row;
  }
  const Comparison& c = r.targets[0].verification->comparison;
  EXPECT_GT(c.lost_mass, 0);
  EXPECT_NEAR(c.ppl_ratio, 1, 1e-6);  // both over the tokens that stay
  EXPECT_TRUE(test::mentions(to_table(r), "of the original's probability is on tokens that are gone"));
  o.out = dir / "gated";
  o.gate = "lost_mass<1e-9";
  EXPECT_FALSE(compress(o).passed());
}

// transformers refuses such a config, although head_dim says how wide heads are; llama.cpp does not mind.
TEST(PruneStructure, AWidthThatIsNoMultipleOfTheHeadsIsRefusedForTheHub) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"hidden=0.6"});
  o.prune_multiple = 1;
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage),
                             "154, is no multiple of its 4 heads; give a heads= that leaves 2 or 1, or a "
                             "hidden= that leaves 152 (with --prune-multiple 4)"));
  EXPECT_FALSE(fs::exists(dir / "out" / "config.json"));
  o.targets = {"llama.cpp-cpu:F32"};
  EXPECT_EQ(open_artifact(dir / "out" / compress(o).targets[0].files[0].name).architecture.hidden(), 154);
}

TEST(PruneStructure, WordsForEachLayerFollowTheLayersThatStay) {
  const test::TempDir dir;
  test::write_small_model(dir / "model", [](nlohmann::ordered_json& c) {
    c["model_type"] = "qwen3";
    c["architectures"] = {"Qwen3ForCausalLM"};
    c["num_hidden_layers"] = 3;
    c["layer_types"] = {"full_attention", "full_attention", "full_attention"};
  });
  CompressOptions o = job(dir / "out", {"depth=1"});
  o.model = dir / "model";
  compress(o);
  EXPECT_EQ(json::parse(read_text(dir / "out" / "config.json"))["layer_types"],
            json({"full_attention", "full_attention"}));
}

TEST(PruneStructure, TakesEveryDampingThatIsAllowed) {
  const test::TempDir dir;
  for (const double damping : {0.02, 1.0}) {
    CompressOptions o = job(dir / fmt::format("{}", damping), {"ffn=0.5", "heads=0.5"});
    o.quantizer.damping = damping;
    EXPECT_GT(kl_of(compress(o)), 0);
  }
}

TEST(PruneStructure, WhatWasSavedAndIsNotWhatWasWrittenIsRefused) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"ffn=0.75"}, "llama.cpp-cpu:Q4_0");
  o.gate = "kl<0.0001";  // missed, so the state stays
  EXPECT_FALSE(compress(o).passed());
  const fs::path about = o.out / ".kerf-resume" / "pruned" / "kerf-prune.json";
  const std::string text = read_text(about);
  json edited = json::parse(text);
  edited["about"]["report"]["axes"] = 3;
  o.resume = true;
  for (const std::string& bad :
       {std::string("{}"), std::string("[]"), std::string(), text.substr(0, text.size() / 2), edited.dump()}) {
    fs::remove(about);
    write_text(about, bad);
    EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::bad_input), "begin anew with --force"));
  }
  fs::remove(about);
  write_text(about, text);
  // Weights that were changed, however old they say they are; without them the run goes on by what else is there.
  const fs::path weights = about.parent_path() / "model.safetensors";
  const auto written = fs::last_write_time(weights);
  std::string bytes = read_text(weights);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  fs::remove(weights);
  write_text(weights, bytes);
  fs::last_write_time(weights, written);
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::bad_input), "remove that folder"));
  fs::remove_all(about.parent_path());
  o.gate.clear();
  EXPECT_TRUE(compress(o).passed());
}

TEST(PruneStructure, TheReportOfOneOfSeveralTargetsLeadsToItsFiles) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "both", {"ffn=0.73"}, "vllm:w4a16-g32");  // whose widths are multiples of 128
  o.targets.emplace_back("checkpoint");
  compress(o);
  CompressOptions again = job(dir / "again", {}, "");
  static_cast<Recipe&>(again) = read_recipe(dir / "both" / "checkpoint-model" / "kerf-report.json");
  again.calib.text = o.calib.text;
  again.eval.text = o.eval.text;
  compress(again);
  EXPECT_EQ(sha256_of(dir / "both" / "checkpoint-model" / "model.safetensors"),
            sha256_of(dir / "again" / "model.safetensors"));
}

TEST(PruneStructure, ACorrectionOfNothingIsRefused) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"2:4"}, "llama.cpp-cpu:F32");
  o.prune_correction = false;
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "and none go"));
}

// A run that fails is none that can be gone on with.
TEST(PruneStructure, AFailureLeavesNothingBehind) {
  const test::TempDir dir;
  test::write_small_model(
      dir / "model", [](nlohmann::ordered_json& c) { c["num_hidden_layers"] = 1; }, Dtype::f32,
      [](float x) { return x > 0.9F && x < 1.0F ? std::numeric_limits<float>::quiet_NaN() : x; });
  CompressOptions o = job(dir / "out", {"ffn=0.5"});
  o.model = dir / "model";
  for (int i = 0; i < 2; ++i) test::refusal([&] { compress(o); }, ErrorKind::numerical);
  EXPECT_FALSE(fs::exists(dir / "out" / ".kerf-resume"));
}

// Gemma names a token for images that has no row.
TEST(PruneStructure, ATokenWithoutARowStaysOutOfPackedFiles) {
  const test::TempDir dir;
  fs::copy(test::example_dir(), dir / "model", fs::copy_options::recursive);
  auto tokenizer = json::parse(read_text(dir / "model" / "tokenizer.json"));
  json added = tokenizer["added_tokens"].back();
  added["id"] = 4096;
  added["content"] = "<image_soft_token>";
  tokenizer["added_tokens"].push_back(added);
  fs::remove(dir / "model" / "tokenizer.json");
  write_text(dir / "model" / "tokenizer.json", tokenizer.dump());
  CompressOptions o =
      job(dir / "out", {"vocab=" + (test::example_dir() / "heldout.txt").string()}, "llama.cpp-cpu:Q8_0");
  o.model = dir / "model";
  const Report r = compress(o);
  const Artifact packed = open_artifact(dir / "out" / r.targets[0].files[0].name);
  EXPECT_EQ(static_cast<int64_t>(packed.tokenizer().tokens.size()), packed.architecture.vocab());
}

// What stays anyway needs no text, and nothing to do is no success.
TEST(PruneStructure, ATextThatSaysNothingOfTheVocabularyIsRefused) {
  const test::TempDir dir;
  write_text(dir / "blank.txt", "\n\n\n");
  const std::string said = test::refusal([&] { compress(job(dir / "out", {"vocab=" + (dir / "blank.txt").string()})); },
                                         ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "(3 characters)"));
  EXPECT_FALSE(fs::exists(dir / "out" / "config.json"));
}

TEST(PruneStructure, ASizeIsReachedAndItsRecipeSaysHow) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"params=0.8"});
  const Report r = compress(o);
  EXPECT_LE(r.pruned["parameters"]["after"].get<double>(), 0.8 * r.pruned["parameters"]["before"].get<double>());
  EXPECT_FALSE(r.pruned["choice"]["curve"].empty());
  for (const std::string& part : r.recipe->prune) EXPECT_FALSE(part.starts_with("params")) << part;
  o.prune = r.recipe->prune;
  o.out = dir / "again";
  compress(o);
  EXPECT_EQ(sha256_of(dir / "out" / "model.safetensors"), sha256_of(dir / "again" / "model.safetensors"));
}

TEST(PruneStructure, GoingOnTakesWhatWasPruned) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"depth=1", "ffn=0.75"}, "llama.cpp-cpu:Q4_0");
  compress(o);
  const std::string name = "tinytales-Q4_0.gguf", at_once = sha256_of(dir / "out" / name);
  o.out = dir / "stopped";
  o.gate = "kl<0.0001";  // missed, so the state stays
  EXPECT_FALSE(compress(o).passed());
  const fs::path pruned = o.out / ".kerf-resume" / "pruned" / "model.safetensors";
  const auto written = fs::last_write_time(pruned);
  o.gate.clear();
  o.resume = true;
  CompressOptions other = o;
  other.prune = {"depth=1", "ffn=0.5"};
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(other); }, ErrorKind::usage), "prune"));
  EXPECT_EQ(fs::last_write_time(pruned), written);
  compress(o);
  EXPECT_EQ(sha256_of(o.out / name), at_once);
}

TEST(PruneStructure, TheTextOfAVocabularyIsAnInput) {
  const test::TempDir dir;
  fs::create_directories(dir / "out");
  const fs::path text = dir / "out" / "README.md";  // which the card would replace
  fs::copy(test::example_dir() / "calibration.txt", text);
  CompressOptions o = job(dir / "out", {"vocab=" + text.string()});
  o.force = true;
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "README.md"));
  EXPECT_EQ(sha256_of(text), sha256_of(test::example_dir() / "calibration.txt"));
  o.out = dir / "other";
  const Report r = compress(o);
  EXPECT_TRUE(std::any_of(r.inputs.begin(), r.inputs.end(), [](const InputFile& f) { return f.key == "prune"; }));
  // Absolute paths mean nothing elsewhere.
  EXPECT_EQ(json::parse(read_text(dir / "other" / "kerf-report.json"))["recipe"]["prune"][0], "vocab=README.md");
}

TEST(PruneStructure, AReportAsRecipeKnowsTheTextsOfAVocabulary) {
  const test::TempDir dir;
  for (const char* name : {"calibration.txt", "heldout.txt"}) fs::copy(test::example_dir() / name, dir / name);
  CompressOptions o =
      job(dir / "out", {"vocab=" + (dir / "calibration.txt").string(), "vocab=" + (dir / "heldout.txt").string()});
  o.calib = {};
  o.eval = {};
  compress(o);
  const fs::path report = o.out / "kerf-report.json";
  Recipe r = read_recipe(report);
  EXPECT_EQ(r.prune, (std::vector<std::string>{"vocab=calibration.txt", "vocab=heldout.txt"}));
  const std::string said = test::refusal([&] { check_inputs(report, r, {}); }, ErrorKind::io);
  EXPECT_TRUE(test::mentions(said, "made with --prune vocab=calibration.txt (SHA-256 ")) << said;
  EXPECT_TRUE(test::mentions(said, "say where it is: --prune vocab=FILE")) << said;
  // Beside the report they are found, and another text under the same name is told.
  fs::copy(dir / "calibration.txt", o.out / "calibration.txt");
  write_text(o.out / "heldout.txt", "something else");
  r = read_recipe(report);
  EXPECT_EQ(r.prune[0], "vocab=" + (o.out / "calibration.txt").string());
  testing::internal::CaptureStderr();
  check_inputs(report, r, {});
  const std::string warned = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(test::mentions(warned, "heldout.txt is another file than the heldout.txt of ")) << warned;
  EXPECT_FALSE(test::mentions(warned, "calibration.txt is")) << warned;
  // Given anew: compared all the same.
  r.prune = {"vocab=" + (dir / "calibration.txt").string(), "vocab=" + (dir / "heldout.txt").string(), "vocab=4000"};
  testing::internal::CaptureStderr();
  check_inputs(report, r, {"prune"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(PruneStructure, WhatIsMissingIsSaidBeforeAnythingIsWritten) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"ffn=0.75"});
  o.calib.text.clear();
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "give --calib FILE"));
  o = job(dir / "out", {"ffn=0.75"});
  o.calib.windows = 4;
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "--prune-correction off"));
  o = job(dir / "out", {"params=0.01"});
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(o); }, ErrorKind::usage), "cut the vocabulary too"));
  o = job(dir / "out", {"vocab=10"});
  test::refusal([&] { compress(o); }, ErrorKind::usage);
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(PruneStructure, ADryRunSaysTheBytesThatAreWritten) {
  const test::TempDir dir;
  for (const char* target : {"llama.cpp-cpu:Q4_0", "checkpoint:bf16"}) {
    CompressOptions o = job(
        dir / "out", {"depth=1", "ffn=0.75", "vocab=" + (test::example_dir() / "calibration.txt").string()}, target);
    o.force = true;
    const RunEstimate e = dry_run(o);
    EXPECT_EQ(e.stays.size(), 3u);
    EXPECT_EQ(compress(o).targets[0].bytes, e.targets[0].bytes) << target;
  }
}

}  // namespace
}  // namespace kerf
