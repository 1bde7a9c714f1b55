// `kerf compress --distill` as users run it: every kind of file, killed and taken up again, and what it refuses.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/file.h"
#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

std::vector<std::string> job(const fs::path& out, const std::string& target, std::vector<std::string> more) {
  const std::string text = (test::example_dir() / "heldout.txt").string();
  std::vector<std::string> a = {KERF_BINARY, "compress", test::example_dir(), "--target", target, "--calib", text};
  a.insert(a.end(), {"--calib-ctx", "64", "--distill-batch", "4", "-o", out});
  const auto unless_given = [&](const std::string& option, const std::string& value) {
    if (std::find(more.begin(), more.end(), option) == more.end()) a.insert(a.end(), {option, value});
  };
  unless_given("--method", "gptq");
  unless_given("--calib-windows", "24");
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

std::string command_of(const std::vector<std::string>& arguments) {
  std::string command;
  for (const std::string& a : arguments) command += "'" + a + "' ";
  return command;
}

// The exit code, and what was said on stderr.
int run(const std::vector<std::string>& arguments, const fs::path& log, std::string* said = nullptr) {
  const int status = std::system((command_of(arguments) + ">/dev/null 2>'" + log.string() + "'").c_str());
  if (said) *said = read_text(log);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

nlohmann::json trained(const fs::path& out) {
  return nlohmann::json::parse(read_text(out / "kerf-report.json"))["targets"][0]["distilled"];
}

struct Case {
  std::string name, target, phases;
  std::vector<std::string> more = {};
};

class Distill : public testing::TestWithParam<Case> {};

TEST_P(Distill, LowersTheHeldOutKlInFilesThatAreReadAgain) {
  test::TempDir dir;
  const Case& c = GetParam();
  std::vector<std::string> more = {"--distill", c.phases, "--steps", "24", "--distill-windows", "120"};
  more.insert(more.end(), c.more.begin(), c.more.end());
  std::string said;
  ASSERT_EQ(run(job(dir / "out", c.target, more), dir / "log", &said), 0) << said;
  const nlohmann::json d = trained(dir / "out");
  const bool own = std::find(c.more.begin(), c.more.end(), "--distill-text") != c.more.end();
  EXPECT_EQ(d["windows"].get<int>() + d["held_out_windows"].get<int>(), 120 + (own ? 3000 / 64 : 0));
  for (const auto& phase : d["phases"]) {
    EXPECT_EQ(phase["steps"], 24);
    if (phase["phase"] == "blocks") {
      EXPECT_EQ(phase["blocks"].size(), 4U);
      continue;
    }
    const auto kl = [&](const char* when) { return phase[when]["kl"].get<double>(); };
    if (phase["phase"] == "lora") {  // begins at what it gains most by, and a few short windows may add nothing
      EXPECT_LT(kl("held_out_after"), 0.99 * kl("held_out_without")) << phase;
      EXPECT_LE(kl("held_out_after"), kl("held_out_before")) << phase;
    } else {
      EXPECT_LT(kl("held_out_after"), kl("held_out_before")) << phase;
    }
    EXPECT_FALSE(phase["curve"].empty());
  }
  EXPECT_FALSE(fs::exists(dir / "out/.kerf-resume"));
}

INSTANTIATE_TEST_SUITE_P(
    Files, Distill,
    testing::Values(Case{"compressed_tensors", "vllm:w4a16-g32", "scales"},
                    Case{"blocks_of_nearest_codes", "vllm:w4a16-g32", "blocks,scales", {"--method", "rtn"}},
                    Case{"gptq_file", "transformers-gptq:w4-g32", "scales"}, Case{"awq_file", "awq:w4-g32", "scales"},
                    Case{"own_text", "llama.cpp-cpu:Q3_K_M", "scales", {"--distill-text", "self:3000"}},
                    Case{"q4_0", "llama.cpp-cpu:Q4_0", "scales"}, Case{"q4_k_m", "llama.cpp-cpu:Q4_K_M", "scales"},
                    Case{"q2_k", "llama.cpp-cpu:Q2_K", "codes"}, Case{"iq2_xxs", "llama.cpp-cpu:IQ2_XXS", "scales"},
                    Case{"ternary", "llama.cpp-cpu:TQ2_0", "full"},
                    Case{"zeros", "checkpoint", "full", {"--prune", "sparsity=0.5"}},
                    Case{"fewer_tokens",
                         "vllm:w4a16-g32",
                         "blocks,scales",
                         {"--method", "rtn", "--prune", "vocab=" + (test::example_dir() / "heldout.txt").string()}},
                    Case{"adapter", "llama.cpp-cpu:Q4_0", "lora"},
                    Case{"adapter_of_trained", "vllm:w4a16-g32", "scales,lora", {"--method", "auto"}},
                    Case{"adapter_of_zeros", "checkpoint", "lora", {"--prune", "sparsity=0.5"}},
                    Case{"depth", "llama.cpp-cpu:Q8_0", "full", {"--prune", "depth=1"}},
                    Case{"adapter_of_depth", "llama.cpp-cpu:Q8_0", "lora", {"--prune", "depth=1"}}),
    [](const auto& c) { return c.param.name; });

TEST(DistillRuns, AreTheSameForAnyNumberOfThreadsAndByTheirReport) {
  test::TempDir dir;
  const std::vector<std::string> more = {"--distill", "scales,codes", "--steps", "6,4"};
  std::string files[3];
  for (const int n : {1, 2, 3}) {
    std::vector<std::string> a = job(dir / std::to_string(n), "vllm:w4a16-g32", more);
    a.insert(a.begin() + 1, {"-j", std::to_string(n)});
    ASSERT_EQ(run(a, dir / "log"), 0) << read_text(dir / "log");
    files[n - 1] = read_text(dir / std::to_string(n) / "model.safetensors");
  }
  EXPECT_TRUE(files[0] == files[1] && files[1] == files[2]);
  ASSERT_EQ(run({KERF_BINARY, "compress", test::example_dir(), "--recipe", dir / "1/kerf-report.json", "--calib",
                 test::example_dir() / "heldout.txt", "-o", dir / "again"},
                dir / "log"),
            0)
      << read_text(dir / "log");
  EXPECT_TRUE(read_text(dir / "again/model.safetensors") == files[0]);
}

TEST(DistillRuns, ATimeIsKeptAndTheReportSaysTheSteps) {
  test::TempDir dir;
  ASSERT_EQ(run(job(dir / "out", "vllm:w4a16-g32", {"--distill", "scales", "--time", "2s"}), dir / "log"), 0);
  const auto report = nlohmann::json::parse(read_text(dir / "out/kerf-report.json"));
  const auto steps = report["recipe"]["distill"]["steps"];
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0], std::to_string(trained(dir / "out")["phases"][0]["steps"].get<int>()));
  EXPECT_FALSE(report["recipe"]["distill"].contains("time"));
}

TEST(DistillRuns, KilledAtAnyMomentGoOnToTheSameBytes) {
  test::TempDir dir;
  const std::vector<std::string> more = {"-q", "--distill", "scales,codes,lora", "--steps", "20", "--save-every", "0"};
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run(job(dir / "whole", "llama.cpp-cpu:Q4_0", more), dir / "log"), 0) << read_text(dir / "log");
  const auto whole = std::chrono::steady_clock::now() - begin;
  const std::string expected = read_text(dir / "whole/tinytales-Q4_0.gguf");
  const char* const adapter = "adapter/tinytales-Q4_0-lora.gguf";
  const std::string expected_adapter = read_text(dir / "whole" / adapter);
  std::mt19937 rng(2);
  int taken_up = 0;
  for (int i = 0; i < 6; ++i) {
    const fs::path out = dir / std::to_string(i);
    std::vector<std::string> a = job(out, "llama.cpp-cpu:Q4_0", more);
    std::vector<char*> argv;
    for (std::string& s : a) argv.push_back(s.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      execv(KERF_BINARY, argv.data());
      _exit(99);
    }
    std::this_thread::sleep_for(whole * static_cast<int>(35 + rng() % 60) / 100);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    const fs::path training = out / ".kerf-resume/llama.cpp-cpu-Q4_0/training";
    taken_up += fs::exists(training / "steps") || fs::exists(training / "phase-0");
    a.insert(a.end(), "--resume");
    if (fs::exists(out / ".kerf-resume")) {
      ASSERT_EQ(run(a, dir / "log"), 0) << read_text(dir / "log");
    }
    EXPECT_TRUE(read_text(out / "tinytales-Q4_0.gguf") == expected) << i;
    EXPECT_TRUE(read_text(out / adapter) == expected_adapter) << i;
  }
  EXPECT_GE(taken_up, 2);  // or nothing was tested
}

TEST(DistillRuns, AnAdapterIsMeasuredWithAndWithoutAndFromItsFiles) {
  test::TempDir dir;
  const std::string text = (test::example_dir() / "calibration.txt").string();
  const std::vector<std::string> eval = {"--text", text, "--windows", "6"};
  for (const char* target : {"llama.cpp-cpu:Q2_K", "transformers-gptq:w3-g32"}) {
    std::vector<std::string> more = {"--distill", "lora", "--steps", "8", "--distill-rank", "4"};
    more.insert(more.end(), eval.begin(), eval.end());
    const fs::path out = dir / target;
    ASSERT_EQ(run(job(out, target, more), dir / "log"), 0) << read_text(dir / "log");
    const auto t = nlohmann::json::parse(read_text(out / "kerf-report.json"))["targets"][0];
    const double with = t["metrics"]["kl_mean"], without = t["without_adapter"]["metrics"]["kl_mean"];
    EXPECT_LT(with, 0.95 * without);
    EXPECT_EQ(t["distilled"]["phases"][0]["rank"], 4);
    const auto kl = [&](std::vector<std::string> more_of_verify, std::string* said) {
      std::vector<std::string> a = {KERF_BINARY, "verify", out, "--against", test::example_dir(), "--json"};
      a.insert(a.end(), eval.begin(), eval.end());
      a.insert(a.end(), more_of_verify.begin(), more_of_verify.end());
      EXPECT_EQ(std::system(
                    (command_of(a) + ">'" + (dir / "json").string() + "' 2>'" + (dir / "log").string() + "'").c_str()),
                0);
      *said = read_text(dir / "log");
      return nlohmann::json::parse(read_text(dir / "json"))["targets"][0]["metrics"]["kl_mean"].get<double>();
    };
    std::string said;
    EXPECT_EQ(kl({"--adapter", out / "adapter"}, &said), with);
    EXPECT_EQ(said.find("left out"), std::string::npos) << said;
    EXPECT_EQ(kl({}, &said), without);
    EXPECT_NE(said.find("give --adapter"), std::string::npos) << said;
    EXPECT_NE(read_text(out / "README.md").find("An adapter (LoRA) belongs to the model"), std::string::npos);
  }
}

TEST(DistillRuns, OfChatsOnlyAnswersAreLearned) {
  test::TempDir dir;
  fs::create_directories(dir / "model");
  for (const auto& entry : fs::directory_iterator(test::example_dir()))
    fs::copy(entry.path(), dir / "model" / entry.path().filename());
  write_text(dir / "model/chat_template.jinja",
             "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
             "{% if add_generation_prompt %}assistant: {% endif %}");
  std::string chats, none;
  const std::string tales = read_text(test::example_dir() / "heldout.txt");
  for (size_t i = 0; i < 60; ++i) {
    const nlohmann::json user = {{"role", "user"}, {"content", tales.substr(i * 400, 200)}},
                         assistant = {{"role", "assistant"}, {"content", tales.substr(i * 400 + 200, 200)}};
    chats += nlohmann::json({{"messages", {user, assistant}}}).dump() + "\n";
    none += nlohmann::json({{"messages", {user}}}).dump() + "\n";
  }
  write_text(dir / "chats.jsonl", chats);
  write_text(dir / "none.jsonl", none);
  const auto train = [&](const fs::path& out, std::vector<std::string> more, std::string* said) {
    std::vector<std::string> a = {KERF_BINARY,
                                  "compress",
                                  dir / "model",
                                  "--target",
                                  "llama.cpp-cpu:Q4_0",
                                  "--method",
                                  "gptq",
                                  "--calib-ctx",
                                  "64",
                                  "--calib-windows",
                                  "60",
                                  "--distill",
                                  "scales",
                                  "--distill-batch",
                                  "4",
                                  "--steps",
                                  "3",
                                  "-o",
                                  out,
                                  "--calib"};
    a.insert(a.end(), more.begin(), more.end());
    return run(a, dir / "log", said);
  };
  std::string said;
  ASSERT_EQ(train(dir / "answers", {dir / "chats.jsonl"}, &said), 0) << said;
  ASSERT_EQ(train(dir / "all", {dir / "chats.jsonl", "--distill-tokens", "all"}, &said), 0) << said;
  const nlohmann::json answers = trained(dir / "answers"), all = trained(dir / "all");
  EXPECT_EQ(all["learned_tokens"], all["windows"].get<int>() * 63);
  const double share = answers["learned_tokens"].get<double>() / all["learned_tokens"].get<double>();
  EXPECT_GT(share, 0.35);
  EXPECT_LT(share, 0.6);
  EXPECT_NE(answers["phases"][0]["held_out_before"], all["phases"][0]["held_out_before"]);
  EXPECT_EQ(train(dir / "none", {dir / "none.jsonl"}, &said), 2);
  EXPECT_NE(said.find("nothing that an assistant says"), std::string::npos) << said;
  EXPECT_EQ(train(dir / "none", {dir / "none.jsonl", "--distill-tokens", "all"}, &said), 0) << said;
  EXPECT_EQ(train(dir / "what", {dir / "chats.jsonl", "--distill-tokens", "user"}, &said), 2);
  EXPECT_NE(said.find("--distill-tokens"), std::string::npos) << said;
}

TEST(DistillRuns, ASecondTextIsMeasuredBeforeAndAfterAndInTheEnd) {
  test::TempDir dir;
  const std::string text = (test::example_dir() / "calibration.txt").string(), second = (dir / "second.txt").string();
  write_text(second, read_text(test::source_dir() / "README.md").substr(0, 4000));
  const std::vector<std::string> eval = {"--text", text, "--second-text", second, "--windows", "3"};
  std::vector<std::string> more = {"--distill", "scales", "--steps", "4", "--prune", "depth=1"};
  more.insert(more.end(), eval.begin(), eval.end());
  std::string said;
  ASSERT_EQ(run(job(dir / "out", "llama.cpp-cpu:Q3_K_M", more), dir / "log", &said), 0) << said;
  EXPECT_EQ(said.find("second.txt holds"), std::string::npos) << said;
  const auto report = nlohmann::json::parse(read_text(dir / "out/kerf-report.json"));
  EXPECT_EQ(report["eval"]["second_text"], "second.txt");
  EXPECT_NE(read_text(dir / "out/README.md").find("On a second text, second.txt"), std::string::npos);
  const auto target = report["targets"][0];
  const double kl = target["second_text"]["metrics"]["kl_mean"];
  EXPECT_NE(kl, target["metrics"]["kl_mean"].get<double>());
  const auto phase = target["distilled"]["phases"][0];
  EXPECT_NE(phase["second_text_before"], phase["second_text_after"]);
  const auto output_of = [&](std::vector<std::string> a) {
    a.insert(a.end(), eval.begin(), eval.end());
    a.insert(a.end(), "--json");
    EXPECT_EQ(std::system((command_of(a) + ">'" + (dir / "json").string() + "' 2>/dev/null").c_str()), 0);
    return nlohmann::json::parse(read_text(dir / "json"));
  };
  const auto verified = output_of({KERF_BINARY, "verify", dir / "out", "--against", test::example_dir()});
  EXPECT_EQ(verified["targets"][0]["second_text"]["metrics"]["kl_mean"], kl);
  // Fewer windows than were asked for are told of.
  ASSERT_EQ(run({KERF_BINARY, "verify", dir / "out", "--against", test::example_dir(), "--text", text, "--second-text",
                 second, "--windows", "12"},
                dir / "log", &said),
            0)
      << said;
  EXPECT_NE(said.find("second.txt holds"), std::string::npos) << said;
  const auto both = output_of({KERF_BINARY, "eval", dir / "out"});
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0]["text"], "calibration.txt");
  EXPECT_EQ(both[1]["text"], "second.txt");
  EXPECT_EQ(both[1]["ppl"], target["second_text"]["metrics"]["ppl"]);
}

struct Refused {
  std::string name;
  std::vector<std::string> more;
  std::string says;
};

class DistillRefuses : public testing::TestWithParam<Refused> {};

TEST_P(DistillRefuses, WithASentenceBeforeAnythingIsWritten) {
  test::TempDir dir;
  std::string said;
  EXPECT_EQ(run(job(dir / "out", "vllm:w4a16-g32", GetParam().more), dir / "log", &said), 2) << said;
  EXPECT_NE(said.find(GetParam().says), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(dir / "out"));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DistillRefuses,
    testing::Values(
        Refused{"unknown_phase", {"--distill", "everything"}, "there are blocks, scales, codes, full and lora"},
        Refused{"phase_twice", {"--distill", "scales,scales"}, "names scales twice"},
        Refused{"behind_lora", {"--distill", "lora,scales"}, "name lora last"},
        Refused{"rank_of_nothing", {"--distill", "scales", "--distill-rank", "4"}, "give --distill lora"},
        Refused{"rank_too_large", {"--distill", "lora", "--distill-rank", "129"}, "a rank of 128 at most"},
        Refused{"steps_of_another_number", {"--distill", "scales", "--steps", "3,4"}, "--steps has 2 numbers"},
        Refused{"no_steps", {"--distill", "scales", "--steps", "0"}, "1 at least"},
        Refused{"time_and_steps", {"--distill", "scales", "--steps", "3", "--time", "5s"}, "give one of them"},
        Refused{"no_time", {"--distill", "scales", "--time", "soon"}, "20min"},
        Refused{"time_of_blocks", {"--distill", "blocks", "--time", "5s"}, "of blocks give --steps"},
        Refused{"options_alone", {"--steps", "3"}, "without --distill"},
        Refused{"temperature_of_no_text", {"--distill", "scales", "--distill-temperature", "0.5"}, "own text"},
        Refused{"one_window", {"--distill", "scales", "--calib-windows", "1"}, "holds one window in eight out"},
        Refused{"own_text_of_nothing", {"--distill", "scales", "--distill-text", "self:"}, "self:100000"},
        Refused{"evaluated_text",
                {"--distill", "scales", "--text", (test::example_dir() / "heldout.txt").string(), "--ctx", "64"},
                "would train on"},
        Refused{"second_text_alone",
                {"--distill", "scales", "--second-text", (test::example_dir() / "calibration.txt").string()},
                "stands beside the text of --text"},
        Refused{"second_text_trained_on",
                {"--distill", "scales", "--text", (test::example_dir() / "calibration.txt").string(), "--ctx", "64",
                 "--second-text", (test::example_dir() / "heldout.txt").string()},
                "windows of --second-text stand in the text"},
        Refused{"other_blocks", {"--distill", "blocks", "--prune", "depth=1"}, "compares blocks with the original's"}),
    [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace kerf
