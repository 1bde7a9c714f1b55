// Text written token by token: what follows each is what a pass over the whole text says.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "model/arch/family.h"
#include "model/run/decoder.h"
#include "model/run/fast_linear.h"
#include "model/run/logits.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

class DecoderTest : public testing::TestWithParam<std::string> {};

TEST_P(DecoderTest, SaysWhatThePassOverTheWholeTextSays) {
  const auto goldens =
      nlohmann::json::parse(std::ifstream(test::source_dir() / "tests/distill/goldens/gradients.json"));
  const Architecture a = describe_architecture(goldens[GetParam()]["config"]);
  const test::RandomCheckpoint source(a);
  const Windows w = test::random_windows(70, 24, a.vocab());  // more than one group of texts
  const auto weights = dense_weights(a, source);
  BlockwiseForward pass(a, *weights, {}, w);
  pass.run();
  const Logits logits(a, *weights, pass);
  std::vector<float> expected(static_cast<size_t>(a.vocab()));
  Decoder decoder(a, source, w.count, w.length);
  for (const int turn : {0, 1}) {
    decoder.restart();
    for (int64_t t = 0; t < w.length; ++t) {
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < w.count; ++i) ids.push_back(w.window(i)[static_cast<size_t>(t)]);
      const std::span<const float> next = decoder.next(ids);
      for (const int64_t i : {int64_t{0}, int64_t{63}, w.count - 1}) {
        logits.panel(i * w.length + t, 1, 0, a.vocab(), expected.data(), a.vocab());
        double difference = 0, size = 0;
        for (size_t v = 0; v < expected.size(); ++v) {
          const auto e = static_cast<double>(expected[v]),
                     n = static_cast<double>(next[static_cast<size_t>(i) * expected.size() + v]);
          difference += (e - n) * (e - n);
          size += e * e;
        }
        // Operands in bfloat16: errors of 2^-9 in each product.
        EXPECT_LT(difference, (fast_arithmetic().attention == Dtype::bf16 ? 1e-3 : 1e-9) * size)
            << turn << " " << t << " " << i;
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Families, DecoderTest, testing::Values("mha", "all", "qwen2", "qwen3", "gemma3", "gemma3_cap"),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace kerf
