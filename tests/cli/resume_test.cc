// A calibrated run that is killed goes on to the bytes that it would have written.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/file.h"
#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// Starts the program; the arguments must outlive the call.
pid_t start(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    execv(KERF_BINARY, argv.data());
    _exit(99);
  }
  return child;
}

int finish(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::vector<std::string> job(const fs::path& out, std::vector<std::string> more = {},
                             const std::string& target = "vllm:w4a16-g32") {
  const std::string heldout = (test::example_dir() / "heldout.txt").string();
  std::vector<std::string> a = {"kerf",        "-q",    "compress",        test::example_dir(),
                                "--target",    target,  "--method",        "auto",
                                "--calib",     heldout, "--calib-windows", "16",
                                "--calib-ctx", "128",   "--save-every",    "0",
                                "-o",          out};
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

TEST(Resume, ARunKilledAtAnyMomentGoesOnToTheSameBytes) {
  test::TempDir dir;
  // Every other one has the model in full precision beside it, whose states have to be kept as well, and a head that is
  // chosen after the last block.
  const std::vector<std::string> variants[] = {{"--asymmetric", "off"}, {"--asymmetric", "on", "--hessian", "kl"}};
  const std::string targets[] = {"vllm:w4a16-g32", "llama.cpp-cpu:Q4_0"};
  const std::string folders[] = {"vllm-w4a16-g32", "llama.cpp-cpu-Q4_0"};
  const std::string files[] = {"model.safetensors", "tinytales-Q4_0.gguf"};
  std::string expected[2];
  std::chrono::steady_clock::duration whole[2];
  for (size_t v : {0, 1}) {
    const auto begin = std::chrono::steady_clock::now();
    const fs::path out = dir / ("whole" + std::to_string(v));
    ASSERT_EQ(finish(start(job(out, variants[v], targets[v]))), 0);
    whole[v] = std::chrono::steady_clock::now() - begin;
    expected[v] = read_text(out / files[v]);
    EXPECT_FALSE(fs::exists(out / ".kerf-resume"));
  }
  std::mt19937 rng(1);
  int taken_up = 0;
  for (int kill_number = 0; kill_number < 20; ++kill_number) {
    const fs::path out = dir / std::to_string(kill_number);
    const auto v = static_cast<size_t>(kill_number % 2);
    std::vector<std::string> again = variants[v];
    again.push_back("--resume");
    const pid_t child = start(job(out, variants[v], targets[v]));
    std::this_thread::sleep_for(whole[v] * static_cast<int>(rng() % 100) / 100);
    kill(child, SIGKILL);
    finish(child);
    taken_up += fs::exists(out / ".kerf-resume" / folders[v] / "hidden" / "model.safetensors");
    // A run that was over before it could be killed has nothing to go on with.
    const bool over = fs::exists(out / "kerf-report.json") && !fs::exists(out / ".kerf-resume");
    if (!over) {
      ASSERT_EQ(finish(start(job(out, again, targets[v]))), 0) << kill_number;
    }
    EXPECT_TRUE(read_text(out / files[v]) == expected[v]) << kill_number;
    EXPECT_FALSE(fs::exists(out / ".kerf-resume"));
    for (const auto& entry : fs::directory_iterator(out)) EXPECT_NE(entry.path().extension(), ".partial");
  }
  EXPECT_GE(taken_up, 3);  // or nothing was tested; blocks take most of the time
}

// Names and contents of all files below a folder.
std::map<std::string, std::string> files_below(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files[entry.path()] = read_text(entry.path());
  return files;
}

TEST(Resume, AnotherRecipeOrTargetIsRefusedAndNothingIsTouched) {
  test::TempDir dir;
  const fs::path out = dir / "out", state = out / ".kerf-resume" / "vllm-w4a16-g32" / "run.json";
  const pid_t child = start(job(out));
  for (int i = 0; i < 2000 && !fs::exists(state); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(child, SIGKILL);
  finish(child);
  if (!fs::exists(state)) GTEST_SKIP() << "the run was over before it could be killed";
  const auto before = files_below(out);
  EXPECT_GE(before.size(), 2u);  // and the file of weights that was begun
  EXPECT_EQ(finish(start(job(out, {"--resume", "--refine", "5"}))), 2);
  EXPECT_EQ(finish(start(job(out, {"--resume"}, "llama.cpp-cpu:Q8_0"))), 2);
  EXPECT_EQ(finish(start(job(out, {"--resume", "--target", "llama.cpp-cpu:Q8_0"}))), 2);
  EXPECT_EQ(finish(start(
                {"kerf", "-q", "compress", test::example_dir(), "--target", "vllm:w4a16-g32", "--resume", "-o", out})),
            2);
  EXPECT_TRUE(files_below(out) == before);
}

// Runs the program to its end; returns its exit code, and what it said on stderr in *said.
int run_to_end(std::vector<std::string> arguments, const fs::path& log, std::string* said) {
  std::string command = std::string("'") + KERF_BINARY + "'";
  for (size_t i = 1; i < arguments.size(); ++i) command += " '" + arguments[i] + "'";
  const int status = std::system((command + " >/dev/null 2>'" + log.string() + "'").c_str());
  *said = read_text(log);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Resume, ASizeIsSharedOutOnce) {
  test::TempDir dir;
  const std::string heldout = (test::example_dir() / "heldout.txt").string();
  const auto sized = [&](const fs::path& out, std::vector<std::string> more) {
    std::vector<std::string> a = {
        "kerf",    "compress", test::example_dir(), "--target", "llama.cpp-cpu", "--bytes", "2200000",
        "--calib", heldout,    "--calib-windows",   "16",       "--calib-ctx",   "128",     "-o",
        out};
    a.insert(a.end(), more.begin(), more.end());
    return a;
  };
  const fs::path log = dir / "log", out = dir / "out", plan = out / ".kerf-resume" / "plan.json";
  std::string said;
  ASSERT_EQ(run_to_end(sized(dir / "whole", {}), log, &said), 0) << said;
  EXPECT_TRUE(said.find("measuring what each of 29 matrices is worth") != std::string::npos) << said;

  const pid_t child = start(sized(out, {"-q", "--save-every", "0"}));
  const auto packing = [&] {  // which begins with the description of the run
    if (!fs::exists(plan)) return false;
    for (const auto& entry : fs::directory_iterator(plan.parent_path()))
      if (fs::exists(entry.path() / "run.json")) return true;
    return false;
  };
  for (int i = 0; i < 12000 && !packing(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(child, SIGKILL);
  finish(child);
  if (!fs::exists(plan)) GTEST_SKIP() << "the run was over before it could be killed";
  const std::string frozen = read_text(plan);

  // Another size, and a plan that somebody has changed.
  EXPECT_EQ(run_to_end(sized(out, {"--resume", "--refine", "5"}), log, &said), 2) << said;
  std::vector<std::string> larger = sized(out, {"--resume"});
  larger[6] = "2300000";
  EXPECT_EQ(run_to_end(larger, log, &said), 2) << said;
  EXPECT_NE(said.find("bytes: 2200000 there, 2300000 now"), std::string::npos) << said;
  std::string changed = frozen;
  changed.replace(changed.find("\"predicted_kl\": 0."), 18, "\"predicted_kl\": 9.");
  write_text(plan, changed);
  EXPECT_EQ(run_to_end(sized(out, {"--resume"}), log, &said), 3) << said;
  EXPECT_NE(said.find("SHA-256"), std::string::npos) << said;
  write_text(plan, frozen);

  // A dry run knows what the plan has decided; the run goes on with it. Neither measures.
  EXPECT_EQ(run_to_end(sized(out, {"--resume", "--dry-run"}), log, &said), 0) << said;
  EXPECT_EQ(said.find("measuring"), std::string::npos) << said;
  EXPECT_NE(said.find("nothing is measured again"), std::string::npos) << said;
  fs::copy_file(plan, dir / "plan.json");
  ASSERT_EQ(run_to_end(sized(out, {"--resume"}), log, &said), 0) << said;
  EXPECT_EQ(said.find("measuring"), std::string::npos) << said;

  std::map<std::string, std::string> files[2];
  for (const fs::path& folder : {dir / "whole", out})
    for (const auto& entry : fs::directory_iterator(folder))
      files[folder == out][entry.path().filename()] = read_text(entry.path());
  EXPECT_TRUE(files[0] == files[1]);

  // The plan and the report are recipes: the same weights again, without measuring.
  for (const fs::path& recipe : {dir / "plan.json", out / "kerf-report.json"}) {
    const fs::path again = dir / recipe.stem();
    // The report names the text without its folder.
    ASSERT_EQ(run_to_end({"kerf", "compress", test::example_dir(), "--recipe", recipe, "--calib", heldout, "-o", again},
                         log, &said),
              0)
        << said;
    EXPECT_EQ(said.find("measuring"), std::string::npos) << said;
    std::string weights[2];
    for (const fs::path& folder : {again, out})
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".gguf") weights[folder == out] = read_text(entry.path());
    EXPECT_TRUE(weights[0] == weights[1]) << recipe;
  }
}

}  // namespace
}  // namespace kerf
