#include "distill/adapter_start.h"

#include <cmath>

#include "core/parallel.h"
#include "core/random.h"
#include "distill/adapted_matrix.h"
#include "distill/stream.h"
#include "model/run/fast_linear.h"
#include "solver/hessian.h"
#include "solver/low_rank.h"

namespace kerf {
namespace {

// A alone, evenly in +- 1 / sqrt(in) as PEFT draws it.
LowRank random_start(LowRank zero, uint64_t seed) {
  const double most = 1 / std::sqrt(static_cast<double>(zero.in));
  for (size_t i = 0; i < zero.a.size(); ++i)
    zero.a[i] = static_cast<float>(most * (2 * uniform(random_bits(seed, 0, static_cast<int64_t>(i))) - 1));
  return zero;
}

}  // namespace

void start_adapters(Student& student, const std::function<std::vector<float>(const std::string&)>& wanted,
                    const Windows& windows, Scratch& scratch, const std::function<void()>& after_block) {
  const Architecture& a = student.architecture();
  Stream stream(windows, a.hidden(), scratch);
  stream.enter(windows, a, [&](std::span<const int32_t> ids, float* out) { student.embed(ids, out); });
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    const std::vector<Site> sites = a.block_sites(layer);
    std::vector<Hessian> inputs;
    for (const Site& site : sites) inputs.emplace_back(site.in);
    const auto run = [&](const OpRunner::Observer& observer) {
      const BlockWeights weights = student.weights(layer);
      const OpRunner runner(a, a.block(layer), fast_arithmetic(), windows.length);
      stream.for_parts(windows.count, [&](int64_t n, float* x) {
        if (!observer) return runner.run(weights, n, x);
        std::vector<float> copy(x, x + n * stream.per_window());
        runner.run(weights, n, copy.data(), observer);
      });
    };
    run([&](size_t matrix, const float* x, int64_t tokens, const float*) {
      inputs[matrix].add(x, tokens, inputs[matrix].n);
    });
    parallel_for(std::ssize(sites), [&](int64_t i) {
      const Site& site = sites[static_cast<size_t>(i)];
      auto* const matrix = dynamic_cast<AdaptedMatrix*>(student.tensors().at(site.name).get());
      if (!matrix) return;
      Hessian& h = inputs[static_cast<size_t>(i)];
      h.finish(site.name);
      std::vector<float> error = wanted(site.name);
      const LowRank zero = matrix->adapter();
      if (error.empty()) return matrix->start(random_start(zero, static_cast<uint64_t>(layer * std::ssize(sites) + i)));
      for (size_t k = 0; k < error.size(); ++k) error[k] -= matrix->base()[k];
      matrix->start(low_rank_of(error, h, zero.rank));
    });
    run({});
    if (after_block) after_block();
  }
}

}  // namespace kerf
