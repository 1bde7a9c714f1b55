// Packed matrices multiply by their transposes with the numbers that they stand for.
#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/runs/compress.h"
#include "tests/support/data.h"
#include "verify/artifact.h"

namespace kerf {
namespace {

TEST(PackedLinear, MultipliesByItsTranspose) {
  test::TempDir dir;
  for (const char* target : {"llama.cpp-cpu:Q8_0", "llama.cpp-cpu:Q4_K_M", "llama.cpp-cpu:BF16", "vllm:w4a16-g32",
                             "vllm:w8a8", "transformers-gptq:w4-g32"}) {
    CompressOptions o;
    o.model = test::example_dir();
    o.targets = {target};
    o.out = dir / target;
    compress(o);
    const Artifact artifact = open_artifact(o.out);
    const std::unique_ptr<WeightProvider> weights = weights_of(artifact, VerifyMode::runtime);
    for (const Site& site : artifact.architecture.block_sites(1)) {
      const std::unique_ptr<Linear> linear = weights->linear(site);
      constexpr int64_t kTokens = 3;
      std::vector<float> w(static_cast<size_t>(site.out * site.in)), dy(static_cast<size_t>(kTokens * site.out)),
          dx(static_cast<size_t>(kTokens * site.in));
      artifact.weights->read(*artifact.weights->find(site.name), 0, w);  // rows as the checkpoint orders them
      for (size_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<float>(i * 37 % 101) / 50.0F - 1;
      linear->add_transposed(dy.data(), kTokens, dx.data());
      for (int64_t t = 0; t < kTokens; ++t)
        for (int64_t k = 0; k < site.in; ++k) {
          double sum = 0, size = 0;
          for (int64_t r = 0; r < site.out; ++r) {
            const double term = static_cast<double>(dy[static_cast<size_t>(t * site.out + r)]) *
                                static_cast<double>(w[static_cast<size_t>(r * site.in + k)]);
            sum += term;
            size += std::fabs(term);
          }
          ASSERT_NEAR(static_cast<double>(dx[static_cast<size_t>(t * site.in + k)]), sum, 1e-6 * size)
              << target << " " << site.name;
        }
    }
  }
}

}  // namespace
}  // namespace kerf
