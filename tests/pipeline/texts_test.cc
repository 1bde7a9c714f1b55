// Texts and tokenizers of a run: what is needed for which, and what is said of them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/repository/export_gguf.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/eval_run.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/text_windows.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

class ModelOfItsOwn : public testing::Test {
 protected:
  ModelOfItsOwn() {
    for (const auto& entry : fs::directory_iterator(test::example_dir()))
      fs::copy(entry.path(), dir_ / entry.path().filename());
  }
  CompressOptions job(const char* target) const {
    CompressOptions o;
    o.model = dir_.path();
    o.targets = {target};
    o.out = out_ / "out";
    o.force = true;
    return o;
  }
  test::TempDir dir_, out_;
};

TEST_F(ModelOfItsOwn, NeedsNoTokenizerWhereNothingIsTokenized) {
  for (const char* tokenizer :
       {"", R"({"version": "1.0", "model": {"type": "Unigram", "vocab": [["a", 0.0]]}})", "{ broken"}) {
    if (*tokenizer)
      write_text(dir_ / "tokenizer.json", tokenizer);
    else
      fs::remove(dir_ / "tokenizer.json");
    EXPECT_TRUE(compress(job("vllm:w4a16-g32")).passed());
    EXPECT_EQ(fs::exists(out_ / "out" / "tokenizer.json"), *tokenizer != 0);
    if (*tokenizer) {
      EXPECT_EQ(read_text(out_ / "out" / "tokenizer.json"), tokenizer) << "copied as it is";
    }
    const auto model = inspect(dir_.path()).at("model");
    EXPECT_TRUE(model.contains("tokenizer_error")) << model.dump();
    EXPECT_TRUE(model.contains("layers"));
    for (const auto& needs : {+[](CompressOptions& o) { o.targets = {"llama.cpp-cpu:Q8_0"}; },
                              +[](CompressOptions& o) { o.eval.text = test::example_dir() / "heldout.txt"; },
                              +[](CompressOptions& o) { o.calib.text = test::example_dir() / "heldout.txt"; }}) {
      CompressOptions o = job("vllm:w4a16-g32");
      needs(o);
      EXPECT_THROW(compress(o), Error);
    }
  }
}

TEST_F(ModelOfItsOwn, CarriesEveryEndOfATextIntoTheGgufAndTheModelfile) {
  write_text(dir_ / "generation_config.json", R"({"eos_token_id": [0, 300, 301, 302]})");
  const Report report = compress(job("llama.cpp-cpu:Q8_0"));
  const Artifact a = open_artifact(out_ / "out");
  EXPECT_EQ(a.tokenizer().eos, 0);
  EXPECT_EQ(a.tokenizer().ends, (std::vector<int32_t>{300, 301}));
  const std::string modelfile = read_text(out_ / "out" / "Modelfile");
  size_t stops = 0;
  for (size_t at = 0; (at = modelfile.find("PARAMETER stop", at)) != std::string::npos; ++at) ++stops;
  EXPECT_EQ(stops, 3u) << modelfile;
  ASSERT_EQ(report.targets[0].remarks.size(), 1u);
  EXPECT_TRUE(test::mentions(report.targets[0].remarks[0], "(302)")) << report.targets[0].remarks[0];
}

TEST_F(ModelOfItsOwn, CarriesStopStringsIntoTheModelfile) {
  write_text(dir_ / "generation_config.json", R"({"eos_token_id": 0, "stop_strings": ["User:", "\n\n"]})");
  const Report report = compress(job("llama.cpp-cpu:Q8_0"));
  const std::string modelfile = read_text(out_ / "out" / "Modelfile");
  EXPECT_TRUE(test::mentions(modelfile, "PARAMETER stop \"User:\"\nPARAMETER stop \"\"\"\n\n\"\"\"\n")) << modelfile;
  ASSERT_EQ(report.targets[0].remarks.size(), 1u);
  EXPECT_TRUE(test::mentions(report.targets[0].remarks[0], "names 2 in stop_strings")) << report.targets[0].remarks[0];
  write_text(dir_ / "generation_config.json", R"({"stop_strings": "User:"})");
  EXPECT_EQ(open_artifact(dir_.path()).tokenizer().stop_strings, (std::vector<std::string>{"User:"}));
  write_text(dir_ / "generation_config.json", R"({"stop_strings": [1]})");
  EXPECT_TRUE(test::mentions(test::refusal([&] { compress(job("llama.cpp-cpu:Q8_0")); }, ErrorKind::bad_input),
                             "stop_strings[]: expected a string"));
}

TokenizerSpec with_ends(std::vector<std::string> texts) {
  TokenizerSpec t;
  t.tokens = {"<|endoftext|>", "a"};
  t.eos = 0;
  for (std::string& text : texts) {
    t.ends.push_back(static_cast<int32_t>(t.tokens.size()));
    t.tokens.push_back(std::move(text));
  }
  t.types.assign(t.tokens.size(), TokenType::control);
  return t;
}

TEST(EndTokens, TakeTheKeysThatTheirTextsDoNotMakeNeedless) {
  const auto keys = [](std::vector<std::string> texts) { return end_tokens(with_ends(std::move(texts))); };
  EXPECT_EQ(keys({}).eot, std::nullopt);
  EXPECT_EQ(keys({"<|turn_end|>"}).eot, 2);
  EXPECT_EQ(keys({"<|im_end|>"}).eot, std::nullopt);
  EXPECT_EQ(keys({"<|end|>"}).eot, 2) << "llama.cpp drops it beside some others";
  const EndTokens two = keys({"<|im_end|>", "<x>", "<y>"});  // llama.cpp stops at <|im_end|> by its text
  EXPECT_EQ(two.eot, 3);
  EXPECT_EQ(two.eom, 4);
  EXPECT_TRUE(two.left.empty());
  EXPECT_EQ(keys({"<x>", "<y>", "<z>"}).left, (std::vector<int32_t>{4}));
  // And back: what the keys say, and what llama.cpp goes by without one.
  TokenizerSpec keyed = with_ends({"<|im_end|>", "<x>", "<|end|>"});
  keyed.ends = {3};
  EXPECT_EQ(ends_by_key(keyed), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(ends_in_llama_cpp(keyed), (std::vector<int32_t>{0, 3, 2}));
  TokenizerSpec t = with_ends({"say \"stop\"", "a\nb"});
  const std::string text = modelfile(t, "m.gguf");
  EXPECT_TRUE(test::mentions(text, "PARAMETER stop \"\"\"say \"stop\"\"\"\"\n")) << text;
  EXPECT_TRUE(test::mentions(text, "PARAMETER stop \"\"\"a\nb\"\"\"\n")) << text;
}

class TextsOfARun : public testing::Test {
 protected:
  // The remarks on evaluation and calibration with windows of 32 tokens.
  std::vector<std::string> remarks(const fs::path& text, const fs::path& calib, int64_t skip = 0, int64_t windows = 4) {
    const EvalOptions e = {.text = text, .ctx = 32, .windows = windows, .skip_tokens = skip};
    const CalibrationOptions c = {.text = calib, .windows = 8, .ctx = 24};
    const auto evaluated = read_windows(model_, e);
    const Windows calibrated = read_calibration(model_, c);
    return remarks_on_windows(e, &*evaluated, c, &calibrated);
  }
  std::string remark(const fs::path& text, const fs::path& calib, int64_t skip = 0) {
    const auto all = remarks(text, calib, skip);
    return all.size() == 1 ? all[0] : fmt::format("{} remarks", all.size());
  }
  const Artifact model_ = open_artifact(test::example_dir());
  const fs::path calib_ = test::example_dir() / "calibration.txt", heldout_ = test::example_dir() / "heldout.txt";
  test::TempDir dir_;
};

TEST_F(TextsOfARun, NothingIsSaidOfTextsApart) { EXPECT_TRUE(remarks(heldout_, calib_).empty()); }

TEST_F(TextsOfARun, OneTextForBothIsSaid) {
  std::string said = remark(calib_, calib_);
  EXPECT_TRUE(test::mentions(said, "calibration and evaluation are on one text")) << said;
  EXPECT_TRUE(test::mentions(said, "4 of the 4 windows")) << said;
  fs::create_symlink(calib_, dir_ / "link.txt");
  said = remark(dir_ / "link.txt", calib_);
  EXPECT_TRUE(test::mentions(said, "have the same content")) << said;
  said = remark(calib_, calib_, 2000);  // other parts of one text
  EXPECT_TRUE(test::mentions(said, "on one text")) << said;
  EXPECT_TRUE(test::mentions(said, "none of the windows")) << said;
}

TEST_F(TextsOfARun, APartOfTheOtherTextIsSaid) {
  const std::string text = read_text(calib_);
  write_text(dir_ / "part.txt", text.substr(0, 1000) + "\n");
  std::string said = remark(dir_ / "part.txt", calib_);
  EXPECT_TRUE(test::mentions(said, "part.txt is a part of the calibration text")) << said;
  EXPECT_TRUE(test::mentions(said, "were calibrated on")) << said;
  // In another form: no bytes in common, but tokens.
  write_text(dir_ / "records.jsonl", nlohmann::json{{"text", text.substr(0, 3000)}}.dump() + "\n");
  said = remark(calib_, dir_ / "records.jsonl");
  EXPECT_TRUE(test::mentions(said, "have text in common: 4 of the 4")) << said;
}

TEST_F(TextsOfARun, FewerWindowsThanAskedForAreSaid) {
  write_text(dir_ / "short.txt", read_text(heldout_).substr(0, 500));
  const std::string said = remark(dir_ / "short.txt", calib_, 0);
  EXPECT_EQ(said, "0 remarks");
  const auto all = remarks(dir_ / "short.txt", calib_, 0, 1000);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_TRUE(test::mentions(all[0], "1000 were asked for (--windows)")) << all[0];
  const EvalResult r =
      eval_run({.model = test::example_dir(), .eval = {.text = dir_ / "short.txt", .ctx = 32, .windows = 1000}});
  EXPECT_EQ(r.remarks, all);
}

TEST_F(TextsOfARun, RecordsAreEvaluatedAsTheyAreCalibratedOn) {
  write_text(dir_ / "t.json",
             "[\n{\"text\": \"Once upon a time there was a big red dog.\"},\n{\"text\": \"The end. "
             "Once upon a time there was a cat.\"}\n]");
  const auto w = read_windows(model_, {.text = dir_ / "t.json", .ctx = 4, .windows = 3, .skip_tokens = 4});
  const Windows c = read_calibration(model_, {.text = dir_ / "t.json", .windows = 4, .ctx = 4});
  EXPECT_EQ(w->ids, std::vector<int32_t>(c.ids.begin() + 4, c.ids.end()));
  EXPECT_TRUE(w->documents);
}

}  // namespace
}  // namespace kerf
