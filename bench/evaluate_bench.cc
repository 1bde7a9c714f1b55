// Perplexity of a model shaped like SmolLM2-135M beside the dense products it is made of, in the same run: what a `kerf
// eval` spends on anything but products. Weights are bf16 values in memory, as a mapped checkpoint in the page cache
// is.
//   GMAC/s      multiply-adds of the model's matrices per second (attention's own are not counted)
//   CPU         processor time of all threads, which a busy machine disturbs less than the time on the clock
// All on kerf's threads (KERF_THREADS sets their number).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "model/arch/family.h"
#include "model/run/evaluate.h"

namespace kerf {
namespace {

// Every tensor is a stretch of one block of random numbers; they are converted at every read, as those of a file are.
class MemoryCheckpoint : public TensorSource {
 public:
  explicit MemoryCheckpoint(const Architecture& a) : halves_(static_cast<size_t>(a.vocab() * a.hidden())) {
    uint64_t bits = 1;
    for (uint16_t& h : halves_) {
      bits = bits * 6364136223846793005U + 1442695040888963407U;
      // In +-0.06: about 1 / sqrt(hidden), which keeps the hidden state in bounds.
      h = f32_to_bf16(0.12F * (static_cast<float>(bits >> 40) * 0x1p-24F - 0.5F));
    }
    for (int64_t layer = -1; layer < a.layers(); ++layer)
      for (const ExpectedTensor& t : a.expected_tensors(layer))
        infos_[t.name] = {.name = t.name, .dtype = Dtype::bf16, .shape = t.shape};
  }
  std::span<const TensorInfo> tensors() const override { return {}; }
  const TensorInfo* find(std::string_view name) const override {
    const auto at = infos_.find(name);
    return at == infos_.end() ? nullptr : &at->second;
  }
  void read(const TensorInfo& info, int64_t row_begin, std::span<float> out) const override {
    to_f32(Dtype::bf16,
           std::as_bytes(std::span(halves_).subspan(static_cast<size_t>(row_begin * info.cols()), out.size())), out);
  }

 private:
  std::vector<uint16_t> halves_;
  std::map<std::string, TensorInfo, std::less<>> infos_;
};

Architecture shape_135m() {
  return describe_architecture({{"model_type", "llama"},
                                {"vocab_size", 49152},
                                {"hidden_size", 576},
                                {"intermediate_size", 1536},
                                {"num_hidden_layers", 30},
                                {"num_attention_heads", 9},
                                {"num_key_value_heads", 3},
                                {"max_position_embeddings", 2048},
                                {"tie_word_embeddings", true}});
}

double matrix_macs(const Architecture& a) {
  double macs = static_cast<double>(a.vocab() * a.hidden());
  for (const Site& site : a.block_sites(0)) macs += static_cast<double>(a.layers() * site.out * site.in);
  return macs;
}

void report(benchmark::State& state, const Architecture& a, int64_t tokens) {
  state.counters["GMAC/s"] =
      benchmark::Counter(matrix_macs(a) * static_cast<double>(tokens) * static_cast<double>(state.iterations()) * 1e-9,
                         benchmark::Counter::kIsRate);
  state.SetLabel(std::string(name_of(isa())) + ", " + std::to_string(threads()) + " threads");
}

constexpr int64_t kTokens = 2048;

/// Windows of state.range(0) tokens, 2,048 in all.
void evaluate_135m(benchmark::State& state) {
  const Architecture a = shape_135m();
  const MemoryCheckpoint checkpoint(a);
  Windows windows{.count = kTokens / state.range(0), .length = state.range(0), .ids = {}};
  for (int64_t i = 0; i < kTokens; ++i) windows.ids.push_back(static_cast<int32_t>(i * 7919 % a.vocab()));
  for (auto _ : state) {
    const std::unique_ptr<WeightProvider> weights = dense_weights(a, checkpoint);
    BlockwiseForward stream(a, *weights, {}, windows);
    stream.run();
    const Logits logits(a, *weights, stream);
    benchmark::DoNotOptimize(evaluate(logits, windows).ppl);
  }
  report(state, a, kTokens);
}

/// The same products and nothing else, in the batches that the pass uses.
void products_135m(benchmark::State& state) {
  const Architecture a = shape_135m();
  const int64_t batch = 1024;
  std::vector<float> x(static_cast<size_t>(batch * a.widest()), 0.5F), y(static_cast<size_t>(batch * a.widest()));
  std::vector<float> w(static_cast<size_t>(1024 * a.widest()), 0.25F);
  for (auto _ : state)
    for (int64_t t = 0; t < kTokens; t += batch) {
      for (int64_t layer = 0; layer < a.layers(); ++layer)
        for (const Site& s : a.block_sites(layer))
          matmul_nt(batch, s.out, s.in, x.data(), s.in, w.data(), s.in, y.data(), s.out);
      for (int64_t row = 0; row < a.vocab(); row += 1024)
        matmul_nt(batch, 1024, a.hidden(), x.data(), a.hidden(), w.data(), a.hidden(), y.data(), 1024);
      benchmark::DoNotOptimize(y.data());
    }
  report(state, a, kTokens);
}

BENCHMARK(products_135m)->MeasureProcessCPUTime()->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(evaluate_135m)
    ->ArgName("context")
    ->Arg(256)
    ->Arg(2048)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kerf

int main(int argc, char** argv) {
  if (const char* n = std::getenv("KERF_THREADS")) kerf::set_threads(std::atoi(n));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
