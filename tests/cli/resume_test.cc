// A calibrated run that is killed goes on to the bytes that it would have written.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
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
  const std::vector<std::string> variants[] = {{"--asymmetric", "off"}, {"--asymmetric", "on"}};
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

}  // namespace
}  // namespace kerf
