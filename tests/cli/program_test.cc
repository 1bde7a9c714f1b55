// The program as a user meets it: exit codes, what goes to stdout, what an interrupted or failed run leaves behind.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

// Runs a shell command in which "kerf" is the program under test.
Outcome run(const std::string& arguments, const std::string& before = "") {
  test::TempDir dir;
  const std::string command = before + " '" + KERF_BINARY + "' " + arguments + " >'" + (dir / "out").string() +
                              "' 2>'" + (dir / "err").string() + "'";
  const int status = std::system(("bash -c \"" + command + "\"").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(dir / "out"), read_text(dir / "err")};
}

std::string model() { return "'" + test::example_dir().string() + "'"; }
std::string text() { return "'" + (test::example_dir() / "heldout.txt").string() + "'"; }

TEST(Program, EveryCommandHasHelpAndExitsWithZero) {
  EXPECT_EQ(run("--help").exit_code, 0);
  EXPECT_TRUE(test::mentions(run("--help").out, "Exit codes"));
  for (const std::string c :
       {"compress", "bench", "imatrix", "verify", "eval", "inspect", "repack", "targets", "tokenize", "help"}) {
    const Outcome o = run(c + " --help");
    EXPECT_EQ(o.exit_code, 0) << c;
    EXPECT_TRUE(test::mentions(o.out, "--")) << c;
    EXPECT_EQ(o.err, "") << c;
    EXPECT_TRUE(test::mentions(o.out, "Examples:\n  kerf " + c)) << o.out;
    // Nothing of how the parser maps words to values.
    for (const char* internal : {"->", " OR ", ":{", "POSITIVE", ":in [", "1000b"})
      EXPECT_FALSE(test::mentions(o.out, internal)) << o.out;
    EXPECT_EQ(run("help " + c).out, o.out);
  }
  const std::string help = run("help").out;
  EXPECT_EQ(help, run("--help").out);
  for (const char* code : {"130", "143", "129"}) EXPECT_TRUE(test::mentions(help, code)) << help;
}

TEST(Program, SuggestsWhatWasProbablyMeant) {
  for (const auto& [arguments, sentence] : std::vector<std::pair<std::string, std::string>>{
           {"comprss x", "there is no command 'comprss'; did you mean compress?"},
           {"quantize x", "there is no command 'quantize'; the commands are "},
           {"help evla", "there is no command 'evla'; did you mean eval?"},
           {"compress x --taget y -o z", "kerf: compress has no option --taget; did you mean --target?"},
           {"compress x --ouput=z", "kerf: compress has no option --ouput; did you mean --out?"},
           {"verify x --againts y", "kerf: verify has no option --againts; did you mean --against?"},
           {"eval x --thread 2", "kerf: eval has no option --thread; did you mean --threads?"},
           {"eval x --nonsense", "kerf: eval has no option --nonsense\n"},
           {"compress x --gate '' -o z", "--gate: it was given nothing"},
           {"verify x --against y --gate ' '", "--gate: it was given nothing"},
           {"eval x --text ''", "--text: it was given nothing"},
           {"eval x y", "kerf: eval was given 'y', and takes no further argument"},
           {"eval x --arithmetic exact", "it is one of runtime, vllm, float32, target, not exact"},
           {"", "a command is missing; the commands are "}}) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 2) << arguments;
    EXPECT_TRUE(test::mentions(o.err, sentence)) << arguments << ": " << o.err;
  }
}

TEST(Program, RunsAReportAgainFromTheFolderOfItsTextsOrWithTextsGivenAnew) {
  const test::TempDir dir;
  fs::copy_file(test::example_dir() / "calibration.txt", dir / "c.txt");
  const std::string in = "cd '" + dir.path().string() + "';", c = "'" + (dir / "c.txt").string() + "'";
  const std::string first =
      "compress " + model() + " --target vllm:w4a16-g32 --method gptq --calib-windows 4 --calib-ctx 32 ";
  const std::string again = "compress " + model() + " --recipe ";
  ASSERT_EQ(run(first + "--calib " + c + " -o absolute", in).exit_code, 0);
  ASSERT_EQ(run(first + "--calib c.txt -o relative", in).exit_code, 0);
  for (const std::string report : {"absolute/kerf-report.json", "relative/kerf-report.json"}) {
    EXPECT_FALSE(test::mentions(read_text(dir / report), dir.path().string()));
    const Outcome o = run(again + report + " --force -o again", in);
    EXPECT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(read_text(dir / "again" / "model.safetensors"), read_text(dir / "relative" / "model.safetensors"));
    const Outcome lost = run(again + "'" + (dir / report).string() + "' -o '" + (dir / "lost").string() + "'", "cd /;");
    EXPECT_EQ(lost.exit_code, 6);
    EXPECT_TRUE(test::mentions(lost.err, "say where it is: --calib FILE")) << lost.err;
    const Outcome given =
        run(again + "'" + (dir / report).string() + "' --calib " + c + " --force -o '" + (dir / "given").string() + "'",
            "cd /;");
    EXPECT_EQ(given.exit_code, 0) << given.err;
    EXPECT_FALSE(test::mentions(given.err, "another file")) << given.err;
    EXPECT_EQ(read_text(dir / "given" / "model.safetensors"), read_text(dir / "relative" / "model.safetensors"));
  }
}

TEST(Program, TakesTheFolderAboveSeveralTargets) {
  const test::TempDir dir;
  const std::string out = "'" + (dir / "out").string() + "'", eval = " --text " + text() + " --windows 1 --ctx 32 ";
  ASSERT_EQ(run("compress " + model() + " --target llama.cpp-cpu:Q8_0,vllm:w4a16-g32" + eval + "-o " + out).exit_code,
            0);
  for (const std::string& arguments :
       {"eval " + out + eval, "inspect " + out, "verify " + out + " --against " + model() + eval}) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 0) << o.err;
    for (const char* folder : {"llama.cpp-cpu-Q8_0", "vllm-w4a16-g32"})
      EXPECT_TRUE(test::mentions(o.out, folder)) << arguments << o.out.substr(0, 1000);
    const Outcome json = run(arguments + " --json");
    EXPECT_TRUE(nlohmann::json::accept(json.out)) << json.out.substr(0, 1000);
  }
}

TEST(Program, BenchSaysWhatItMeasured) {
  const std::string model = "'" + test::example_dir().string() + "'";
  const Outcome o = run("bench " + model + " --ctx 16 --seconds 0 --json");
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = nlohmann::json::parse(o.out);
  EXPECT_EQ(j["ctx"], 16);
  EXPECT_GT(j["prefill_tokens_per_second"], 0.0);
  EXPECT_GT(j["decode_tokens_per_second"], 0.0);
  const Outcome too_long = run("bench " + model + " --ctx 1000000");
  EXPECT_EQ(too_long.exit_code, 2);
  EXPECT_TRUE(test::mentions(too_long.err, "the model's context")) << too_long.err;
}

TEST(Program, BenchTakesNoLongerWindowThanTheModel) {
  test::TempDir dir;
  const fs::path model = dir / "model";
  fs::copy(test::example_dir(), model);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model / "config.json"));
  for (const int longest : {64, 4096}) {
    config["max_position_embeddings"] = longest;
    std::ofstream(model / "config.json") << config;
    const Outcome o = run("bench '" + model.string() + "' --seconds 0 --json");
    EXPECT_EQ(nlohmann::json::parse(o.out)["ctx"], std::min(longest, 512)) << o.err;
  }
}

TEST(Program, RefusesNumbersThatMeanNothing) {
  test::TempDir dir;
  const std::string run_of = "compress '" + test::example_dir().string() + "' --target llama.cpp-cpu:Q4_0 -o '" +
                             (dir / "out").string() + "' --calib x ";
  for (const char* option : {"--bytes -5", "--bytes 0", "--bytes 0MB", "--memory -1", "--memory 0", "--shard-size 0",
                             "--bpw nan", "--bpw 0", "--damping nan", "--damping 2", "--refine 101", "-j 100000"}) {
    const Outcome o = run(run_of + option);
    EXPECT_EQ(o.exit_code, 2) << option << ": " << o.err;
    EXPECT_FALSE(fs::exists(dir / "out")) << option;
  }
}

TEST(Program, SizesTakeFractionsAndADryRunNeedsNoFolder) {
  const std::string dry = "compress " + model() + " --target llama.cpp-cpu --dry-run --json --calib " + text() +
                          " --calib-windows 2 --calib-ctx 64 --method rtn ";
  const Outcome o = run(dry + "--bytes 2.5MB --memory 1.5GB");
  EXPECT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(nlohmann::json::parse(o.out)["targets"][0]["bytes"], 2'500'000);
  EXPECT_EQ(run(dry + "--shard-size 0.5MiB").exit_code, 0);
  for (const char* bad : {"--bytes 2.5", "--bytes 2,5MB", "--memory 1.5XB", "--shard-size 1.5B"}) {
    const Outcome refused = run(dry + bad);
    EXPECT_EQ(refused.exit_code, 2) << bad;
    EXPECT_TRUE(test::mentions(refused.err, "is no size")) << refused.err;
  }
  const Outcome nowhere = run("compress " + model() + " --target llama.cpp-cpu:Q4_0");
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_TRUE(test::mentions(nowhere.err, "-o DIR")) << nowhere.err;
}

// Recipes of before say ppl<1.03 and meant the ratio.
TEST(Program, SaysThatAGateOnPplIsAbsolute) {
  test::TempDir dir;
  write_text(dir / "r.yaml", "targets: llama.cpp-cpu:Q8_0\ngate: ppl<1.03\n");
  const std::string rest = " --text " + text() + " --windows 1 --ctx 32 -o '" + (dir / "out").string() + "'";
  const Outcome o = run("compress " + model() + " --recipe '" + (dir / "r.yaml").string() + "'" + rest);
  EXPECT_EQ(o.exit_code, 1) << o.err;
  EXPECT_TRUE(test::mentions(o.err, "limits the perplexity itself")) << o.err;
  EXPECT_TRUE(test::mentions(o.err, "ppl_ratio")) << o.err;
  const Outcome ratio =
      run("compress " + model() + " --target llama.cpp-cpu:Q8_0 --gate 'ppl_ratio<1.03,ppl<1e9'" + rest);
  EXPECT_EQ(ratio.exit_code, 0) << ratio.err;
  EXPECT_FALSE(test::mentions(ratio.err, "itself")) << ratio.err;
}

TEST(Program, AFolderThatCannotBeIsAnErrorOfTheFileSystem) {
  test::TempDir dir;
  std::ofstream(dir / "file") << "x";
  for (const std::string& out : {(dir / "file" / "x").string(), (dir / std::string(300, 'x')).string()}) {
    const Outcome o =
        run("compress '" + test::example_dir().string() + "' --target llama.cpp-cpu:Q8_0 -o '" + out + "'");
    EXPECT_EQ(o.exit_code, 6) << o.err;
    EXPECT_FALSE(test::mentions(o.err, "a mistake in kerf")) << o.err;
  }
}

TEST(Program, TokenizeRendersChats) {
  test::TempDir dir;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::example_dir() / name, dir / name);
  write_text(dir / "chat_template.jinja", "{% for m in messages %}{{ m.role }}>{{ m.content }}\n{% endfor %}end");
  write_text(dir / "chats.jsonl",
             "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}\n{\"text\": \"Hello\"}\n{\"x\": 1}\n");
  const std::string arguments = "tokenize '" + dir.path().string() + "' --json --chat '" + dir.path().string() + "/";
  const Outcome o = run(arguments + "chats.jsonl'");
  EXPECT_EQ(o.exit_code, 3);
  EXPECT_TRUE(test::mentions(o.err, "line 3 has neither")) << o.err;
  EXPECT_TRUE(test::mentions(o.out, "user>Hello\\nend")) << o.out;
  EXPECT_TRUE(test::mentions(o.out, "\"text\":\"Hello\"")) << o.out;
  write_text(dir / "chat_template.jinja", "\n{% include 'x' %}");
  const Outcome lacking = run(arguments + "chats.jsonl'");
  EXPECT_EQ(lacking.exit_code, 4);
  EXPECT_TRUE(test::mentions(lacking.err, "line 2: the tag 'include'")) << lacking.err;
}

TEST(Program, ReadsATextFromStandardInput) {
  const std::string model = "'" + test::example_dir().string() + "'",
                    given = " < '" + (test::example_dir() / "heldout.txt").string() + "'";
  const Outcome from_file =
      run("eval " + model + " --windows 2 --ctx 64 --text '" + (test::example_dir() / "heldout.txt").string() + "'");
  const Outcome o = run("eval " + model + " --windows 2 --ctx 64 --text -" + given);
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_EQ(o.out, from_file.out);
  EXPECT_EQ(run("tokenize " + model + " --text - < /dev/null").exit_code, 0);
  EXPECT_EQ(run("eval " + model + " --text - < /dev/null").exit_code, 3);
}

TEST(Program, VersionNamesTheCpuAndTheKernels) {
  const Outcome o = run("--version");
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_TRUE(test::mentions(o.out, "kerf 0."));
  EXPECT_TRUE(test::mentions(o.out, "kernels: "));
  EXPECT_TRUE(test::mentions(run("--version", "KERF_ISA=ref").out, "kernels: ref"));
}

TEST(Program, WrongUsageExitsWithTwoAndKeepsStdoutClean) {
  for (const char* arguments :
       {"", "frobnicate", "compress", "compress x --target llama.cpp-cpu", "targets --nonsense", "tokenize x"}) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 2) << arguments;
    EXPECT_EQ(o.out, "") << arguments;
    EXPECT_NE(o.err, "") << arguments;
  }
  EXPECT_EQ(run("eval " + model() + " --text " + text(), "KERF_ISA=mmx").exit_code, 2);
  EXPECT_EQ(run("-j -3 targets").exit_code, 2);
}

TEST(Program, EachKindOfErrorHasItsExitCode) {
  test::TempDir dir;
  EXPECT_EQ(run("inspect /no/such/model").exit_code, 6);
  write_text(dir / "broken.gguf", "GGUF but not really");
  EXPECT_EQ(run("inspect '" + (dir / "broken.gguf").string() + "'").exit_code, 3);
  EXPECT_EQ(run("compress " + model() + " --target vllm:w4a16-g96 -o '" + (dir / "o").string() + "'").exit_code, 4);
  write_text(dir / "bad.txt", "abc\xff");
  const Outcome o = run("tokenize " + model() + " --text '" + (dir / "bad.txt").string() + "'");
  EXPECT_EQ(o.exit_code, 3);
  EXPECT_TRUE(test::mentions(o.err, "3")) << o.err;  // the offset
}

TEST(Program, JsonOnStdoutIsJson) {
  test::TempDir dir;
  const std::string out = "'" + (dir / "o").string() + "'";
  for (const std::string& arguments :
       {std::string("targets --json"), "inspect " + model() + " --json",
        "tokenize " + model() + " --text " + text() + " --json",
        "eval " + model() + " --text " + text() + " --windows 1 --json",
        "compress " + model() + " --target llama.cpp-cpu:Q8_0 --text " + text() + " --windows 1 --json -o " + out,
        "verify " + out + " --against " + model() + " --text " + text() + " --windows 1 --json"}) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 0) << arguments << o.err;
    EXPECT_TRUE(nlohmann::json::accept(o.out)) << arguments;
  }
}

TEST(Program, AMissedGateExitsWithOneAndStillPrintsTheTable) {
  test::TempDir dir;
  const Outcome o = run("compress " + model() + " --target llama.cpp-cpu:Q4_0 --text " + text() +
                        " --windows 1 --gate 'kl<0.0001' -o '" + (dir / "o").string() + "'");
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_TRUE(test::mentions(o.out, "MISSED"));
}

TEST(Program, AFullDiskAtAnyWriteLeavesTheOldOutput) {
  test::TempDir dir;
  const fs::path out = dir / "o";
  const std::string command =
      "compress " + model() + " --target llama.cpp-cpu:Q8_0 --force -q -o '" + out.string() + "'";
  ASSERT_EQ(run(command).exit_code, 0);
  const std::string old = read_text(out / "tinytales-Q8_0.gguf");
  // File-size limits in KiB: nothing fits; the header fits; almost all fits. Q8_0 is 4.6 MB.
  for (const char* limit : {"0", "100", "4400"}) {
    const Outcome o = run(command, std::string("ulimit -f ") + limit + ";");
    // With a limit of zero not even the message can be caught in its file.
    EXPECT_EQ(o.exit_code, 6) << limit << o.err;
    EXPECT_EQ(read_text(out / "tinytales-Q8_0.gguf"), old) << limit;
    for (const auto& entry : fs::directory_iterator(out))
      EXPECT_NE(entry.path().extension(), ".partial") << limit << entry.path();
  }
}

TEST(Program, ARunThatIsStoppedSaysHowToGoOn) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  const std::string again = "compress " + model() + " --target vllm:w4a16-g32 --calib " + text() +
                            " --calib-windows 64 --save-every 0 -o '" + out.string() + "' ";
  int expected = 130;
  for (const int signal : {SIGINT, SIGTERM}) {
    const fs::path said = dir / "said";
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      if (!freopen(said.c_str(), "w", stderr)) _exit(98);
      execl("/bin/sh", "sh", "-c",
            ("exec '" + std::string(KERF_BINARY) + "' -j 1 " + again + (signal == SIGINT ? "" : "--resume")).c_str(),
            static_cast<char*>(nullptr));
      _exit(99);
    }
    const auto begun = [&] {
      std::error_code none;
      for (const auto& entry : fs::recursive_directory_iterator(out / ".kerf-resume", none))
        if (entry.path().filename() == "run.json") return true;
      return false;
    };
    // Of the second run the saved state was there before: then the staging folder, which the first has taken away.
    for (int i = 0; i < 12000 && !(begun() && fs::exists(out / ".kerf-staging")); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) GTEST_SKIP() << "the run was over before it could be stopped";
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), expected);
    const std::string sentence = read_text(said);
    EXPECT_TRUE(test::mentions(sentence, "kerf: stopped; ")) << sentence;
    EXPECT_TRUE(test::mentions(sentence, signal == SIGINT ? "the same command with --resume goes on from there"
                                                          : "the same command goes on from there"))
        << sentence;
    expected = 143;
  }
  // Without --resume it is said that there is something to go on with; with it, it goes on.
  const Outcome anew = run(again);
  EXPECT_EQ(anew.exit_code, 2);
  EXPECT_TRUE(test::mentions(anew.err, "or --resume to go on with that run")) << anew.err;
  const Outcome on = run(again + "--resume");
  EXPECT_EQ(on.exit_code, 0) << on.err;
  // Of a folder with something else in it, --resume is not advised, which would be refused.
  fs::create_directories(dir / "other");
  write_text(dir / "other" / "x", "x");
  const Outcome other = run("compress " + model() + " --target vllm:w4a16-g32 -o '" + (dir / "other").string() + "'");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_FALSE(test::mentions(other.err, "--resume")) << other.err;
}

TEST(Program, AnInterruptedRunLeavesNoPartialFile) {
  test::TempDir dir;
  for (int milliseconds : {20, 60, 120, 200, 400}) {
    const fs::path out = dir / std::to_string(milliseconds);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      execl(KERF_BINARY, "kerf", "-q", "-j", "1", "compress", test::example_dir().c_str(), "--target",
            "llama.cpp-cpu:Q4_0", "--text", (test::example_dir() / "heldout.txt").c_str(), "-o", out.c_str(),
            static_cast<char*>(nullptr));
      _exit(99);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    kill(child, SIGINT);
    int status = 0;
    waitpid(child, &status, 0);
    // The system ends a program that has not come to say what it does about the signal.
    const bool at_once = WIFSIGNALED(status) && WTERMSIG(status) == SIGINT;
    EXPECT_TRUE(at_once || (WIFEXITED(status) && (WEXITSTATUS(status) == 130 || WEXITSTATUS(status) == 0))) << status;
    if (!fs::exists(out)) continue;
    for (const auto& entry : fs::directory_iterator(out)) EXPECT_NE(entry.path().extension(), ".partial");
  }
}

TEST(Program, AResultThatCannotBeWrittenIsAnError) {
  const int status = std::system(("'" + std::string(KERF_BINARY) + "' targets >/dev/full 2>/dev/null").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 6);
}

TEST(Program, DecodesATensorToNumPy) {
  test::TempDir dir;
  const std::string npy = (dir / "t.npy").string();
  EXPECT_EQ(run("inspect " + model() + " --tensor model.norm.weight --npy '" + npy + "'").exit_code, 0);
  EXPECT_TRUE(read_text(npy).starts_with("\x93NUMPY"));
  EXPECT_EQ(run("inspect " + model() + " --tensor nothing --npy '" + npy + "'").exit_code, 2);
}

// A file that is opened must not get the number of a stream, and what is read from it is no model.
TEST(Program, ClosedStreamsAreNoFiles) {
  const test::TempDir dir;
  const std::string out = (dir / "out").string();
  const Outcome read = run("eval " + model() + " --windows 1 --text - <&-");
  EXPECT_EQ(read.exit_code, 6) << read.err;
  EXPECT_TRUE(test::mentions(read.err, "standard input cannot be read")) << read.err;
  const std::string job = "-v compress " + model() + " --target llama.cpp-cpu:Q8_0 -o ";
  ASSERT_EQ(run(job + out).exit_code, 0);
  const std::string closed = "bash -c \"'" + std::string(KERF_BINARY) + "' " + job + out + "2 <&- >&- 2>&-\"";
  EXPECT_EQ(WEXITSTATUS(std::system(closed.c_str())), 6);  // the table cannot be printed
  EXPECT_EQ(read_text(out + "2/tinytales-Q8_0.gguf"), read_text(out + "/tinytales-Q8_0.gguf"));
}

TEST(Program, NamesThatAreNoUtf8AreShownWithAReplacement) {
  const test::TempDir dir;
  const fs::path held = dir / "t\xFF.txt";
  fs::copy_file(test::example_dir() / "heldout.txt", held);
  const std::string out = (dir / "out").string();
  const Outcome made =
      run("compress " + model() + " --target llama.cpp-cpu:Q8_0 --windows 1 --ctx 32 --text '" + held.string() +
          "' --calib '" + held.string() + "' --calib-windows 9 --calib-ctx 32 -o " + out);
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_TRUE(test::mentions(read_text(out + "/kerf-report.json"), "t\xEF\xBF\xBD.txt"));
  fs::rename(out + "/tinytales-Q8_0.gguf", dir / "g\xFF.gguf");
  for (const char* command : {"inspect", "eval --ids 1,2"})
    EXPECT_NE(run(std::string(command) + " --json '" + (dir / "g\xFF.gguf").string() + "'").exit_code, 70) << command;
}

TEST(Program, AReportKnowsTheTextOfStandardInput) {
  const test::TempDir dir;
  const std::string out = (dir / "out").string();
  const std::string job = "compress " + model() + " --ctx 32 --windows 1 ";
  ASSERT_EQ(run(job + "--target llama.cpp-cpu:Q8_0 --text - -o " + out + " <" + text()).exit_code, 0);
  const std::string again = job + "--recipe " + out + "/kerf-report.json -o " + out;
  const Outcome same = run(again + "2 <" + text());
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_FALSE(test::mentions(same.err, "is another file than")) << same.err;
  const Outcome other = run(again + "3 <'" + (test::example_dir() / "calibration.txt").string() + "'");
  EXPECT_EQ(other.exit_code, 0) << other.err;
  EXPECT_TRUE(test::mentions(other.err, "standard input is another file than the standard input of")) << other.err;
}

}  // namespace
}  // namespace kerf
