// Choosing a kernel, and cutting a product into panels. Panel sizes depend on the shape alone, so that every output is
// computed by the same instructions whatever the number of threads.
#include "kernels/gemm.h"

#include <algorithm>
#include <memory>
#include <string>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"

namespace kerf {
namespace {

// Rounded activations held at a time: with float32 activations of width 16384 this is 64 MiB.
constexpr int64_t kTokensInFlight = 1024;
// One call of multiply(). A kernel unpacks its weights once per call, at up to a few cycles per weight vector, and then
// spends about one cycle per vector and token on them.
constexpr int64_t kTokenPanel = 256, kRowPanel = 128;
// llama.cpp sums differently with fewer tokens than this (q8_k_gemm_ref.h), and in fours: no piece of a longer product
// may be as short, and all pieces but the last are multiples of four.
constexpr int64_t kSmallestPiece = 8;
// With fewer tokens than this the time goes into reading the weights: a panel is then about this many bytes, many times
// what handing out a panel costs (under a microsecond), and few enough to balance two threads on a small matrix.
constexpr int64_t kFewTokens = 16, kFewTokensPanelBytes = 32 * 1024;
// Products of fewer multiply-adds than this take less time than waking threads (some 5 microseconds).
constexpr int64_t kSerialWork = 1 << 18;

// Rows per panel: at most `most`, all panels about equal, a multiple of 16 (the widest kernel's row block).
int64_t even_panel(int64_t rows, int64_t most) { return round_up<int64_t>(ceil_div(rows, ceil_div(rows, most)), 16); }

// Tokens in pieces of `size`; the last one takes what would be too short alone.
struct Pieces {
  int64_t tokens, size;
  int64_t count() const { return std::max<int64_t>(ceil_div(tokens - kSmallestPiece + 1, size), 1); }
  int64_t begin(int64_t i) const { return i * size; }
  int64_t length(int64_t i) const { return i + 1 < count() ? size : tokens - begin(i); }
};

}  // namespace

const PackedGemm& find_gemm(std::string_view format) {
  const PackedGemm* best = nullptr;
  std::string known;
  for (const PackedGemm* gemm : all_gemms()) {
    if (gemm->isa == Isa::ref) known += (known.empty() ? "" : ", ") + std::string(gemm->format);
    if (gemm->format != format || gemm->isa > isa()) continue;
    if (!best || gemm->isa > best->isa) best = gemm;
  }
  if (!best) fail(ErrorKind::unsupported, "no kernel multiplies with weights in format '{}'; known: {}", format, known);
  return *best;
}

void packed_matmul(const PackedGemm& gemm, const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* x,
                   int64_t tokens, float* y, int64_t y_stride) {
  const int64_t rows = row_end - row_begin;
  const int64_t row_bytes = gemm.activation_bytes(w);
  if (rows <= 0 || tokens <= 0) return;
  if (w.cols == 0) {  // kernels write sums of at least one block
    for (int64_t t = 0; t < tokens; ++t) std::fill_n(y + t * y_stride, rows, 0.0f);
    return;
  }
  const bool few = tokens < kFewTokens;
  const int64_t few_rows = std::max<int64_t>(kFewTokensPanelBytes / std::max<int64_t>(w.code_stride, 1), 16);
  const int64_t row_panel = even_panel(rows, few ? few_rows : kRowPanel);
  const int64_t row_panels = ceil_div(rows, row_panel);
  const bool serial = rows * w.cols < kSerialWork / tokens;
  const auto for_each = [serial](int64_t n, const auto& body) {
    if (!serial) return parallel_for(n, body);
    for (int64_t i = 0; i < n; ++i) body(i);
  };

  const Pieces flights{tokens, kTokensInFlight};
  const int64_t in_flight = std::min(tokens, kTokensInFlight + kSmallestPiece - 1);
  const std::unique_ptr<std::byte[]> activations(
      new std::byte[static_cast<size_t>(checked_mul(in_flight, row_bytes, "activations"))]);
  for (int64_t flight = 0; flight < flights.count(); ++flight) {
    const int64_t t0 = flights.begin(flight), now = flights.length(flight);
    const Pieces panels{now, kTokenPanel};
    const auto round = [&](int64_t t) {
      gemm.round_activations(w, x + (t0 + t) * w.cols, activations.get() + t * row_bytes);
    };
    if (few) {
      for (int64_t t = 0; t < now; ++t) round(t);
    } else {
      constexpr int64_t kAtOnce = 16;
      for_each(ceil_div(now, kAtOnce), [&](int64_t i) {
        for (int64_t t = i * kAtOnce; t < std::min(now, (i + 1) * kAtOnce); ++t) round(t);
      });
    }
    for_each(row_panels * panels.count(), [&](int64_t i) {
      const int64_t t = panels.begin(i / row_panels), r = i % row_panels * row_panel;
      gemm.multiply(w, row_begin + r, row_begin + std::min(rows, r + row_panel), activations.get() + t * row_bytes,
                    panels.length(i / row_panels), y + (t0 + t) * y_stride + r, y_stride);
    });
  }
}

}  // namespace kerf
