// What a model writes by itself is what whole passes over the finished texts say.
#include "verify/greedy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/run/logits.h"
#include "tests/support/data.h"
#include "tests/support/small_model.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// Windows of counted ids.
Windows prompts_of(const Architecture& a, int64_t count, int64_t length) {
  Windows w{.count = count, .length = length};
  for (int64_t t = 0; t < w.tokens(); ++t) w.ids.push_back(static_cast<int32_t>((7 + t * 911) % a.vocab()));
  return w;
}

void expect_most_probable(const fs::path& model, int64_t count, int64_t length, int64_t tokens) {
  const Artifact a = open_artifact(model);
  const Windows prompts = prompts_of(a.architecture, count, length);
  const auto written = continue_greedily(a, prompts, tokens);
  ASSERT_EQ(static_cast<int64_t>(written.size()), count);
  Windows whole{.count = count, .length = length + tokens};
  for (int64_t i = 0; i < count; ++i) {
    whole.ids.insert(whole.ids.end(), prompts.window(i).begin(), prompts.window(i).end());
    whole.ids.insert(whole.ids.end(), written[static_cast<size_t>(i)].begin(), written[static_cast<size_t>(i)].end());
  }
  const auto weights = weights_of(a, VerifyMode::float32);
  BlockwiseForward stream(a.architecture, *weights, {}, whole);
  stream.run();
  const Logits logits(a.architecture, *weights, stream);
  std::vector<float> y(static_cast<size_t>(logits.vocab()));
  for (int64_t i = 0; i < count; ++i)
    for (int64_t t = 0; t < tokens; ++t) {
      logits.panel(i * whole.length + length + t - 1, 1, 0, logits.vocab(), y.data(), logits.vocab());
      const float most = *std::max_element(y.begin(), y.end());
      const auto id = static_cast<size_t>(written[static_cast<size_t>(i)][static_cast<size_t>(t)]);
      // Sums of other numbers of rows may be rounded in another order.
      EXPECT_GE(y[id], most - 1e-4F * std::abs(most)) << "text " << i << ", token " << t;
    }
}

TEST(Greedy, WritesTheMostProbableTokenOfTheWholeText) { expect_most_probable(test::example_dir(), 3, 8, 24); }

// More windows than run in one batch.
TEST(Greedy, WritesManyTextsAtOnce) { expect_most_probable(test::example_dir(), 40, 60, 3); }

TEST(Greedy, FollowsWindowsOfAttentionAndBiases) {
  const test::TempDir dir;
  const auto small = [](nlohmann::ordered_json& c) { test::set_shape(c, {64, 128, 4, 2, 16, 3}); };
  test::write_small_model(dir / "gemma", [&](nlohmann::ordered_json& c) {
    small(c);
    c["architectures"] = {"Gemma3ForCausalLM"};
    c["model_type"] = "gemma3_text";
    c["hidden_activation"] = "gelu_pytorch_tanh";
    c["sliding_window"] = 6;
    c["sliding_window_pattern"] = 2;
    c.erase("rope_parameters");
  });
  expect_most_probable(dir / "gemma", 3, 5, 20);
  test::write_small_model(dir / "qwen", [&](nlohmann::ordered_json& c) {
    small(c);
    c["architectures"] = {"Qwen2ForCausalLM"};
    c["model_type"] = "qwen2";
  });
  expect_most_probable(dir / "qwen", 2, 1, 12);
}

}  // namespace
}  // namespace kerf
