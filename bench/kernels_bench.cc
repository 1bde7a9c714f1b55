// Packed products beside what bounds them on the same machine in the same run: with one token the rate at which memory
// can be read, with many the rate of float32 products.
//   GB/s   bytes of weights (packed, scales included) or of memory read per second
//   GMAC/s multiply-adds per second
// All on kerf's threads (KERF_THREADS sets their number), kernels as KERF_ISA allows.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "formats/ggml_type.h"
#include "kernels/dense/dense.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

std::vector<float> random_floats(int64_t n) {
  std::mt19937 bits(1);
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(n));
  for (float& f : v) f = normal(bits);
  return v;
}

// A packed matrix of random bytes: codes, and in GGUF's blocks scales too.
struct Packed {
  std::vector<std::byte> codes, scales;
  PackedMatrix matrix;
  double bytes() const { return static_cast<double>(codes.size() + scales.size()); }
};

Packed random_packed(std::string_view format, int64_t rows, int64_t cols, Dtype compute) {
  Packed p;
  p.matrix = {.rows = rows, .cols = cols};
  const GgmlType* const gguf = find_ggml_type(format);
  if (!gguf) {
    const bool by_row = format.ends_with("w8a8") || format.ends_with("fp8");
    p.matrix.bits = format == "ct-int4" ? 4 : 8;
    p.matrix.group = by_row ? cols : 64;  // 64 divides 576, the width of a 135M model
    p.matrix.activation_group = cols;
    p.matrix.scale_dtype = p.matrix.compute = compute;
    const int64_t groups = cols / p.matrix.group;
    const std::vector<float> scales(static_cast<size_t>(rows * groups), 0.01f);
    p.scales.resize(static_cast<size_t>(bytes_of(compute, rows * groups)));
    from_f32(compute, scales, p.scales);
    p.matrix.scales = p.scales.data();
    p.matrix.scale_stride = bytes_of(compute, groups);
  }
  p.matrix.code_stride = gguf ? cols / gguf->block * gguf->block_bytes : cols * p.matrix.bits / 8;
  p.codes.resize(static_cast<size_t>(rows * p.matrix.code_stride));
  std::mt19937 bits(2);
  for (size_t i = 0; i + 4 <= p.codes.size(); i += 4) {
    const auto word = static_cast<uint32_t>(bits());
    std::memcpy(p.codes.data() + i, &word, 4);
  }
  if (format.ends_with("fp8"))  // codes of NaNs out, or they are all that is measured
    for (std::byte& code : p.codes)
      if ((code & std::byte{0x7f}) == std::byte{0x7f}) code = std::byte{0};
  p.matrix.codes = p.codes.data();
  return p;
}

// Enough matrices one after the other that none is still in a cache when its turn comes again.
constexpr int64_t kStreamBytes = int64_t{256} << 20;

void bench_packed(benchmark::State& state, const PackedGemm* gemm, Dtype compute, int64_t rows, int64_t cols,
                  int64_t tokens) {
  if (gemm->isa > isa()) return state.SkipWithError("not allowed here");
  std::vector<Packed> weights;
  weights.push_back(random_packed(gemm->format, rows, cols, compute));
  if (tokens == 1)
    while (weights[0].bytes() * static_cast<double>(weights.size()) < kStreamBytes)
      weights.push_back(random_packed(gemm->format, rows, cols, compute));
  const auto x = random_floats(tokens * cols);
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  size_t turn = 0;
  for (auto _ : state) {
    packed_matmul(*gemm, weights[turn++ % weights.size()].matrix, 0, rows, x.data(), tokens, y.data(), rows);
    benchmark::ClobberMemory();
  }
  const auto n = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(n * weights[0].bytes() * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GMAC/s"] =
      benchmark::Counter(n * static_cast<double>(rows * cols * tokens) * 1e-9, benchmark::Counter::kIsRate);
}

void bench_dense(benchmark::State& state, int64_t rows, int64_t cols, int64_t tokens) {
  std::vector<std::vector<float>> weights(1, random_floats(rows * cols));
  if (tokens == 1)
    while (static_cast<int64_t>(weights.size()) * rows * cols * 4 < kStreamBytes) weights.push_back(weights[0]);
  const auto x = random_floats(tokens * cols);
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  size_t turn = 0;
  for (auto _ : state) {
    matmul_nt(tokens, rows, cols, x.data(), cols, weights[turn++ % weights.size()].data(), cols, y.data(), rows);
    benchmark::ClobberMemory();
  }
  const auto n = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(n * static_cast<double>(rows * cols) * 4e-9, benchmark::Counter::kIsRate);
  state.counters["GMAC/s"] =
      benchmark::Counter(n * static_cast<double>(rows * cols * tokens) * 1e-9, benchmark::Counter::kIsRate);
}

void bench_stream(benchmark::State& state) {
  constexpr int64_t kPiece = 1 << 20, kPieces = kStreamBytes / kPiece, kWords = kPiece / 8;
  const std::vector<uint64_t> memory(static_cast<size_t>(kWords * kPieces), 1);
  for (auto _ : state) {
    std::atomic<uint64_t> total{0};
    parallel_for(kPieces, [&](int64_t piece) {
      const uint64_t* p = memory.data() + piece * kWords;
      uint64_t sum[8] = {};
      for (int64_t i = 0; i < kWords; i += 8)
        for (int64_t j = 0; j < 8; ++j) sum[j] += p[i + j];
      total += sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    });
    benchmark::DoNotOptimize(total.load());
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kStreamBytes) * 1e-9, benchmark::Counter::kIsRate);
}

void register_all() {
  struct Shape {
    int64_t rows, cols;
  };
  const auto add = [](const std::string& name, auto&& body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMicrosecond);
  };
  add("stream_read", bench_stream);
  for (const int64_t tokens : {1, 4, 16, 256}) {
    for (const Shape s : {Shape{1536, 576}, Shape{2048, 8192}}) {
      const std::string shape =
          "/" + std::to_string(s.rows) + "x" + std::to_string(s.cols) + "/tokens:" + std::to_string(tokens);
      add("dense_f32" + shape, [=](benchmark::State& state) { bench_dense(state, s.rows, s.cols, tokens); });
      for (const PackedGemm* gemm : all_gemms()) {
        if (gemm->isa == Isa::ref || gemm->isa > isa()) continue;
        if (const GgmlType* type = find_ggml_type(gemm->format); type && s.cols % type->block != 0) continue;
        for (const Dtype compute : {Dtype::f32, Dtype::bf16}) {
          const bool ct = gemm->format.substr(0, 3) == "ct-";  // vLLM's rule rounds activations only
          if (!ct && compute == Dtype::bf16) continue;
          const std::string name = std::string(gemm->format) + (ct ? "-" + std::string(name_of(compute)) : "") + "/" +
                                   std::string(name_of(gemm->isa)) + shape;
          add(name, [=](benchmark::State& state) { bench_packed(state, gemm, compute, s.rows, s.cols, tokens); });
        }
      }
    }
  }
}

}  // namespace
}  // namespace kerf

int main(int argc, char** argv) {
  if (const char* n = std::getenv("KERF_THREADS")) kerf::set_threads(std::atoi(n));
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("cpu", kerf::cpu_description());
  benchmark::AddCustomContext("isa", std::string(kerf::name_of(kerf::isa())));
  benchmark::AddCustomContext("threads", std::to_string(kerf::threads()));
  kerf::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
