// The README's own commands, run as they stand on a model of the shape that they name: SmolLM2-135M, one layer of it,
// with random weights.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "tests/support/small_model.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr const char* kModel = "SmolLM2-135M-Instruct";

// Lines of the README's code blocks that begin with "kerf" and name the model, without the remark behind them.
std::vector<std::string> commands() {
  std::vector<std::string> all;
  std::istringstream readme(read_text(test::source_dir() / "README.md"));
  bool code = false;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("```")) code = !code;
    if (!code || !line.starts_with("kerf ") || line.find(kModel) == std::string::npos) continue;
    all.push_back(line.substr(0, line.find("   ", line.find(kModel))));
  }
  return all;
}

TEST(Readme, ItsCommandsRunOnAModelOfThatShape) {
  const test::TempDir dir;
  test::write_small_model(dir / kModel, test::shape_of_smollm);
  const std::string held_out = read_text(test::example_dir() / "heldout.txt").substr(0, 20'000);
  write_text(dir / "heldout.txt", held_out);
  std::string chats;
  for (int i = 0; i < 8; ++i)
    chats += nlohmann::json({{"text", held_out.substr(static_cast<size_t>(2000 * i), 2000)}}).dump() + "\n";
  write_text(dir / "chats.jsonl", chats);
  write_text(dir / "r.yaml", "targets: vllm\ncalib: {text: chats.jsonl, windows: 8, ctx: 64}\n");
  fs::create_symlink(KERF_BINARY, dir / "kerf");
  const std::vector<std::string> all = commands();
  ASSERT_GE(all.size(), 4u);
  for (const std::string& command : all) {
    // Each stands for itself; those that read `out` find what the one before has left.
    if (command.find("-o out") != std::string::npos) fs::remove_all(dir / "out");
    const std::string line = "cd '" + dir.path().string() + "' && ./" + command + " >log 2>&1";
    const int status = std::system(line.c_str());
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    // Random weights may miss a gate; all else must run.
    const bool gated = command.find("--gate") != std::string::npos;
    EXPECT_TRUE(code == 0 || (gated && code == 1)) << command << "\n" << read_text(dir / "log");
  }
}

}  // namespace
}  // namespace kerf
