// What cards and reports say of the model that was read: where it comes from, and on which terms.
#include "pipeline/report/source_identity.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/sha256.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/eval_run.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/models_in.h"
#include "pipeline/runs/repack.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using test::mentions;

constexpr const char* kApache =
    "                                 Apache License\n                           Version 2.0, January 2004\n";
constexpr const char* kCommit = "0123456789012345678901234567890123456789";

void copy_model(const fs::path& to) {
  fs::create_directories(to);
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::example_dir() / name, to / name);
}

void compress_to(const fs::path& model, const fs::path& out, std::vector<std::string> targets) {
  CompressOptions o;
  o.model = model;
  o.targets = std::move(targets);
  o.out = out;
  compress(o);
}

// Lines between the two "---" of a card.
std::string front_matter(const fs::path& out) {
  const std::string card = read_text(out / "README.md");
  EXPECT_TRUE(card.starts_with("---\n"));
  return card.substr(4, card.find("\n---\n") - 3);
}

nlohmann::json report_in(const fs::path& out) { return nlohmann::json::parse(read_text(out / "kerf-report.json")); }

TEST(SourceIdentity, TheCardTakesLicenceLanguageAndRevisionFromTheHubsSnapshot) {
  const test::TempDir dir;
  const fs::path model = dir / "models--some-org--some--name" / "snapshots" / kCommit;
  copy_model(model);
  write_text(model / "README.md",
             "---\nlanguage: [en, \"no\"]\nlicense: other\nlicense_name: some-licence\n"
             "license_link: LICENSE\nbase_model: else/where\n---\n# text\n");
  write_text(model / "LICENSE", "Terms of our own.");
  write_text(model / "USE_POLICY.md", "Be kind.");
  write_text(model / "noticeboard.txt", "x");
  for (const std::string target : {"llama.cpp-cpu:Q8_0", "vllm:w4a16-g32"}) {
    const fs::path out = dir / target.substr(0, 4);
    compress_to(model, out, {target});
    const std::string front = front_matter(out);
    for (const char* line : {"base_model: some-org/some--name\n", "base_model_relation: quantized\n",
                             "language:\n- en\n- \"no\"\n", "license: other\n", "license_name: some-licence\n",
                             "license_link: LICENSE\n", "pipeline_tag: text-generation\n", "library_name: "})
      EXPECT_TRUE(mentions(front, line)) << line << front;
    const std::string card = read_text(out / "README.md");
    EXPECT_TRUE(mentions(card, fmt::format("revision `{}` of some-org/some--name", kCommit))) << card;
    EXPECT_TRUE(mentions(card, "some-licence (LICENSE), according to its model card")) << card;
    EXPECT_TRUE(mentions(card, "Method: rtn, without a calibration text.")) << card;
    const auto report = report_in(out);
    EXPECT_EQ(report["source"]["hub_id"], "some-org/some--name");
    EXPECT_EQ(report["source"]["revision"], kCommit);
    EXPECT_EQ(report["inputs"][0]["key"], "model");
    EXPECT_EQ(report["inputs"][0]["sha256"], sha256_of(model / "model.safetensors"));
    EXPECT_EQ(read_text(out / "LICENSE"), "Terms of our own.");
    EXPECT_TRUE(fs::exists(out / "USE_POLICY.md"));
    EXPECT_FALSE(fs::exists(out / "noticeboard.txt"));
  }
  // What repack writes comes from the same model.
  RepackOptions o;
  o.packed = dir / "vllm";
  o.target = "transformers-gptq";
  o.out = dir / "gptq";
  repack(o);
  EXPECT_TRUE(mentions(front_matter(o.out), "base_model:\n- some-org/some--name\n")) << front_matter(o.out);
  EXPECT_TRUE(mentions(front_matter(o.out), "license_name: some-licence\n"));
  EXPECT_EQ(report_in(o.out)["source"]["base_model"][0], "some-org/some--name");
  EXPECT_TRUE(fs::exists(o.out / "LICENSE"));
}

TEST(SourceIdentity, ALocalFolderGoesByItsNameAndItsLicenceFile) {
  const test::TempDir dir;
  const fs::path model = dir / "local";
  copy_model(model);
  compress_to(model, dir / "none", {"llama.cpp-cpu:Q8_0"});
  const std::string none = read_text(dir / "none" / "README.md");
  EXPECT_TRUE(mentions(none, "base_model: local  # ")) << none;
  EXPECT_FALSE(mentions(front_matter(dir / "none"), "license")) << none;
  EXPECT_TRUE(mentions(none, "The source names no licence")) << none;
  EXPECT_TRUE(mentions(none, "Of languages the source says nothing")) << none;

  write_text(model / "LICENSE.txt", kApache);
  write_text(model / "NOTICE", "By somebody.");
  fs::create_directories(model / ".cache" / "huggingface" / "download");
  write_text(model / ".cache" / "huggingface" / "download" / "config.json.metadata",
             std::string(kCommit) + "\netag\n1700000000.0\n");
  compress_to(model, dir / "apache", {"llama.cpp-cpu:Q8_0"});
  EXPECT_TRUE(mentions(front_matter(dir / "apache"), "license: apache-2.0\n"));
  const std::string apache = read_text(dir / "apache" / "README.md");
  EXPECT_TRUE(mentions(apache, "apache-2.0, according to its file LICENSE.txt")) << apache;
  EXPECT_TRUE(mentions(apache, kCommit)) << apache;
  EXPECT_EQ(read_text(dir / "apache" / "NOTICE"), "By somebody.");
  // The report lists them, so that a later run with another model takes them away.
  copy_model(dir / "other");
  CompressOptions o;
  o.model = dir / "other";
  o.targets = {"llama.cpp-cpu:Q4_0"};
  o.out = dir / "apache";
  o.force = true;
  compress(o);
  EXPECT_FALSE(fs::exists(o.out / "NOTICE"));

  write_text(model / "README.md", "\xef\xbb\xbf---\r\nlicense: [mit, apache-2.0]\r\nlanguage: no\r\n---\r\n");
  compress_to(model, dir / "two", {"llama.cpp-cpu:Q8_0"});
  EXPECT_TRUE(mentions(front_matter(dir / "two"), "license: other\nlicense_name: \"mit and apache-2.0\"\n"));
  EXPECT_TRUE(mentions(front_matter(dir / "two"), "language:\n- \"no\"\n")) << front_matter(dir / "two");

  // Damaged front matter is no reason to fail, nor to believe it.
  for (const std::string card : {"---\nlicense: [\n---\n", "---\nlicense: mit", "---", "--- ---\n", "---\n---\n"}) {
    write_text(model / "README.md", card);
    fs::remove_all(dir / "damaged");
    compress_to(model, dir / "damaged", {"llama.cpp-cpu:Q8_0"});
    EXPECT_TRUE(mentions(front_matter(dir / "damaged"), "license: apache-2.0\n")) << card;
  }
}

TEST(SourceIdentity, TheUsualLicencesAreKnownByTheirWords) {
  EXPECT_EQ(licence_with_words(kApache), "apache-2.0");
  EXPECT_EQ(licence_with_words("Permission is hereby granted, free of charge, to any person ...\nThe above copyright\n"
                               "notice and this permission notice shall be included"),
            "mit");
  EXPECT_EQ(licence_with_words("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT"), "llama3.1");
  EXPECT_EQ(licence_with_words("META LLAMA 3 COMMUNITY LICENSE AGREEMENT"), "llama3");
  EXPECT_EQ(licence_with_words("All rights reserved."), "");
  EXPECT_EQ(licence_with_words(""), "");
}

class SeveralTargets : public testing::Test {
 protected:
  void SetUp() override {
    o.model = test::example_dir();
    o.targets = {"llama.cpp-cpu:Q8_0", "vllm:w4a16-g32"};
    o.out = dir / "out";
    o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 32, .windows = 2};
    o.calib = {.text = test::example_dir() / "calibration.txt", .windows = 8, .ctx = 32};
    o.method = "gptq";
    compress(o);
  }
  const test::TempDir dir;
  CompressOptions o;
};

TEST_F(SeveralTargets, EachFolderIsARepositoryWithItsOwnCardAndReport) {
  const auto all = report_in(o.out);
  const std::string commands[] = {"llama-cli -m tinytales-Q8_0.gguf\n", "vllm serve .\n"};
  for (size_t i = 0; i < 2; ++i) {
    const fs::path folder = o.out / (i == 0 ? "llama.cpp-cpu-Q8_0" : "vllm-w4a16-g32");
    const std::string card = read_text(folder / "README.md");
    EXPECT_TRUE(mentions(card, "```\n" + commands[i] + "```")) << card;
    EXPECT_TRUE(mentions(
        card, "calibrated on 8 windows of 32 tokens of calibration.txt (SHA-256 `" + sha256_of(o.calib.text) + "`)"))
        << card;
    const auto own = report_in(folder);
    ASSERT_EQ(own["targets"].size(), 1u);
    EXPECT_EQ(own["targets"][0]["metrics"], all["targets"][i]["metrics"]);
    EXPECT_EQ(own["recipe"]["targets"], nlohmann::json({o.targets[i]}));
    for (const auto& f : own["targets"][0]["files"]) {
      EXPECT_EQ(sha256_of(folder / f["name"].get<std::string>()), f["sha256"]);
    }
    // Its recipe makes its files, bit for bit, when the texts are said again.
    CompressOptions again;
    static_cast<Recipe&>(again) = read_recipe(folder / "kerf-report.json");
    EXPECT_EQ(again.calib.text, "calibration.txt");
    again.calib.text = o.calib.text;
    again.eval.text.clear();
    again.model = o.model;
    again.out = dir / ("again" + std::to_string(i));
    compress(again);
    EXPECT_EQ(report_in(again.out)["targets"][0]["files"][0]["sha256"], own["targets"][0]["files"][0]["sha256"]);
  }
  // A later run with one target takes all of that away.
  CompressOptions later = o;
  later.targets = {"awq:w4-g32"};
  later.force = true;
  compress(later);
  EXPECT_FALSE(fs::exists(o.out / "vllm-w4a16-g32"));
}

TEST_F(SeveralTargets, TheFolderAboveIsTakenByEvalInspectAndVerify) {
  const auto models = models_in(o.out);
  ASSERT_EQ(models.size(), 2u);
  const auto results = eval_models({.model = o.out, .eval = o.eval});
  const Report verified = verify_run({.packed = o.out, .against = o.model, .eval = o.eval});
  ASSERT_EQ(results.size(), 2u);
  ASSERT_EQ(verified.targets.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(results[i].model, models[i]);
    EXPECT_EQ(results[i].perplexity.ppl, verified.targets[i].verification->comparison.ppl);
  }
  EXPECT_TRUE(mentions(
      test::refusal([&] { eval_models({.model = o.out, .eval = o.eval, .logits = dir / "l.npy"}); }, ErrorKind::usage),
      "name one of them"));
  // Commands that take one model say which there are.
  const std::string said = test::refusal([&] { eval_run({.model = o.out, .eval = o.eval}); }, ErrorKind::bad_input);
  EXPECT_TRUE(mentions(said, "vllm-w4a16-g32")) << said;
}

TEST_F(SeveralTargets, ReportsNameFilesAndTheirChecksumsAndNoPathOfTheMachine) {
  for (const auto& entry : fs::recursive_directory_iterator(o.out))
    if (entry.path().filename() == "kerf-report.json" || entry.path().filename() == "README.md") {
      EXPECT_FALSE(mentions(read_text(entry.path()), test::example_dir().string())) << entry.path();
      EXPECT_FALSE(mentions(read_text(entry.path()), dir.path().string())) << entry.path();
    }
  const fs::path report = o.out / "vllm-w4a16-g32" / "kerf-report.json";
  std::map<std::string, nlohmann::json> inputs;
  const auto whole = report_in(o.out);
  for (const auto& f : whole["inputs"]) inputs[f["key"]] = f;
  EXPECT_EQ(inputs["calib.text"]["name"], "calibration.txt");
  EXPECT_EQ(inputs["calib.text"]["sha256"], sha256_of(o.calib.text));
  EXPECT_EQ(inputs["eval.text"]["name"], "heldout.txt");

  // The texts are nowhere: said, with what to do.
  Recipe r = read_recipe(report);
  const std::string said = test::refusal([&] { check_inputs(report, r, {}); }, ErrorKind::io);
  EXPECT_TRUE(mentions(said, "calibration.txt") && mentions(said, "--calib FILE")) << said;
  // Beside the report they are found.
  for (const fs::path& text : {o.calib.text, o.eval.text}) fs::copy_file(text, report.parent_path() / text.filename());
  r = read_recipe(report);
  EXPECT_EQ(r.calib.text, report.parent_path() / "calibration.txt");
  testing::internal::CaptureStderr();
  check_inputs(report, r, {});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  // Another text under the same name is told.
  write_text(report.parent_path() / "calibration.txt", "something else");
  testing::internal::CaptureStderr();
  check_inputs(report, r, {"calib.text"});
  const std::string warned = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(mentions(warned, "is another file than the calibration.txt")) << warned;
}

TEST_F(SeveralTargets, InspectionIsForReading) {
  const std::string text = inspection_text(inspect(o.out / "vllm-w4a16-g32"));
  EXPECT_TRUE(mentions(text, "\n  rules\n    - ")) << text.substr(0, 2000);
  EXPECT_TRUE(mentions(text, "\n  bpw               all ")) << text.substr(0, 2000);
  EXPECT_FALSE(mentions(text, "[\"")) << text.substr(0, 2000);
}

}  // namespace
}  // namespace kerf
