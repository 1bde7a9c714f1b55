// A run that is killed leaves the old output folder or the new one, and nothing in between.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/file.h"
#include "core/sha256.h"
#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Starts the program in a folder.
pid_t start(const std::vector<std::string>& arguments, const fs::path& in) {
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
    if (chdir(in.c_str()) == 0) execv(KERF_BINARY, argv.data());
    _exit(99);
  }
  return child;
}

bool runs(pid_t child) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

int finish(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::vector<std::string> job(const fs::path& out, const std::string& targets, const std::string& windows = "1",
                             const std::string& ctx = "32") {
  const std::string text = test::example_dir() / "heldout.txt";
  return {"kerf", "-q",        "-j",    "1",     "compress", test::example_dir(), "--target", targets, "--text",
          text,   "--windows", windows, "--ctx", ctx,        "--force",           "-o",       out};
}

// SHA-256 of every file, and every link and folder; what kerf keeps for itself is left out.
std::map<std::string, std::string> seen(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator(); ++entry) {
    if (entry.depth() == 0 && entry->path().filename().string().starts_with(".kerf-")) {
      entry.disable_recursion_pending();
      continue;
    }
    const std::string name = entry->path().lexically_relative(folder);
    if (entry->is_symlink())
      all[name] = "link to " + fs::read_symlink(entry->path()).string();
    else
      all[name] = entry->is_directory() ? "folder" : sha256_of(entry->path());
  }
  return all;
}

// Files that are not kerf's.
void add_others(const fs::path& out) {
  fs::create_directories(out / "notes" / "empty");
  write_text(out / "notes" / "read me", "keep me");
  write_text(out / ".gitattributes", "*.gguf filter=lfs\n");
  fs::create_symlink("notes/read me", out / "link");
}

int kills() {
  const char* asked = std::getenv("KERF_KILLS");
  return asked ? std::atoi(asked) : 40;
}

// `from_inside`: the program is started in the output folder, which then cannot be exchanged and is filled by renames.
void kill_at_any_moment(bool from_inside) {
  const test::TempDir dir;
  const std::string targets[] = {"transformers-gptq:w4-g32", "vllm:w4a16-g32,llama.cpp-cpu:Q4_0"};
  std::map<std::string, std::string> complete[2];
  Clock::duration whole{};
  for (int t : {0, 1}) {
    const fs::path out = dir / std::to_string(t);
    const auto begin = Clock::now();
    ASSERT_EQ(finish(start(job(out, targets[t]), dir.path())), 0);
    whole = std::max(whole, Clock::now() - begin);
    add_others(out);
    complete[t] = seen(out);
  }
  const fs::path out = dir / "out";
  ASSERT_EQ(finish(start(job(out, targets[0]), dir.path())), 0);
  add_others(out);
  ASSERT_EQ(seen(out), complete[0]);
  // A file that only the second of the two has.
  const auto of_second = std::find_if(complete[1].begin(), complete[1].end(), [&](const auto& file) {
    return file.second != "folder" && !complete[0].contains(file.first);
  });
  ASSERT_NE(of_second, complete[1].end());
  std::mt19937 rng(from_inside ? 2 : 1);
  int now = 0, old = 0, next = 0;
  for (int i = 0; i < kills(); ++i) {
    const pid_t child = start(job(from_inside ? fs::path(".") : out, targets[1 - now]), from_inside ? out : dir.path());
    // The first before anything is done, the second after a new file is in its place. Then some at any moment, more
    // while files change places: when the last file is staged, or the journal of renames is there.
    if (i % 4 == 0) {
      std::this_thread::sleep_for(i == 0 ? whole * 0 : whole * static_cast<int>(rng() % 110) / 100);
    } else {
      const fs::path sign = out / (i == 1                      ? of_second->first
                                   : from_inside && i % 4 == 1 ? ".kerf-publish.json"
                                                               : ".kerf-staging/kerf-report.json");
      const auto deadline = Clock::now() + std::chrono::seconds(20);
      while (!fs::exists(sign) && Clock::now() < deadline && runs(child)) {
      }
      std::this_thread::sleep_for(std::chrono::microseconds(rng() % (1u << (rng() % 16))));
    }
    kill(child, SIGKILL);
    finish(child);
    // An exchanged folder needs no help. Otherwise the next command finishes the work, here one that then finds no
    // model where there are several targets.
    if (from_inside) finish(start({"kerf", "-q", "inspect", out}, dir.path()));
    const auto found = seen(out);
    if (found == complete[1 - now]) {
      now = 1 - now;
      ++next;
    } else {
      ASSERT_EQ(found, complete[now]) << "kill " << i;
      ++old;
    }
  }
  EXPECT_GT(old, 0);
  EXPECT_GT(next, 0);
  // Nothing of the runs is left after the next one.
  ASSERT_EQ(finish(start(job(out, targets[0]), dir.path())), 0);
  EXPECT_EQ(seen(out), complete[0]);
  for (const fs::path& folder : {out, dir.path()})
    for (const auto& entry : fs::directory_iterator(folder))
      EXPECT_EQ(entry.path().filename().string().find("kerf-replaced"), std::string::npos) << entry.path();
  EXPECT_FALSE(fs::exists(out / ".kerf-staging"));
}

TEST(Publication, AKillAtAnyMomentLeavesTheOldOrTheNew) { kill_at_any_moment(false); }
TEST(Publication, ToBeFinishedAfterAKillWhereFoldersCannotBeExchanged) { kill_at_any_moment(true); }

TEST(Publication, ASignalLeavesNothing) {
  const test::TempDir dir;
  const fs::path out = dir / "a" / "b";
  for (int i = 0; i < 4; ++i) {
    const pid_t child = start(job(out, "llama.cpp-cpu:Q4_0", "100", "256"), dir.path());
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    const fs::path waited_for = out / ".kerf-staging" / (i % 2 ? "Modelfile" : "");
    while (!fs::exists(waited_for) && Clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(child, i < 2 ? SIGINT : SIGTERM);
    EXPECT_EQ(finish(child), i < 2 ? 130 : 143);
    EXPECT_FALSE(fs::exists(dir / "a")) << i;
  }
}

TEST(Publication, ASecondRunInTheSameFolderIsRefused) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  fs::create_directories(out);
  const FolderLock lock(out);
  ASSERT_TRUE(lock.held());
  EXPECT_EQ(finish(start(job(out, "llama.cpp-cpu:Q4_0"), dir.path())), 2);
  EXPECT_TRUE(fs::is_empty(out));
}

}  // namespace
}  // namespace kerf
