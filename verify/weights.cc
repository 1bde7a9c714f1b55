// Decoded weights, and products with the bytes where they lie.
#include <algorithm>
#include <array>

#include "core/checked.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "model/ops/ggml_attention.h"
#include "verify/adapter.h"
#include "verify/artifact.h"

namespace kerf {
namespace {

// A packed matrix in its runtime's arithmetic. Rows that the file keeps in another order are put back in the output.
class PackedLinear final : public Linear {
 public:
  PackedLinear(const StoredWeight& w, const PackedGemm& gemm)
      : Linear(w.packed.rows, w.packed.cols), w_(w), gemm_(gemm) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    if (w_.file_row.empty()) {
      packed_matmul(gemm_, w_.packed, row_begin, row_end, x, tokens, y, y_stride);
    } else {
      std::vector<float> all(static_cast<size_t>(tokens * out));
      packed_matmul(gemm_, w_.packed, 0, out, x, tokens, all.data(), out);
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t r = row_begin; r < row_end; ++r)
          y[t * y_stride + (r - row_begin)] = all[static_cast<size_t>(t * out + w_.file_row[static_cast<size_t>(r)])];
    }
    if (w_.output_scale == 1) return;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t i = 0; i < row_end - row_begin; ++i) y[t * y_stride + i] *= w_.output_scale;
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    for (int64_t r = row_begin; r < row_end; ++r)
      decode_file_row(w_, w_.file_row.empty() ? r : w_.file_row[static_cast<size_t>(r)],
                      std::span(to + (r - row_begin) * in, static_cast<size_t>(in)));
  }

 private:
  const StoredWeight& w_;
  const PackedGemm& gemm_;
};

// F32, F16 or BF16 weights as llama.cpp multiplies them: each activation is first rounded to the weight's type.
class GgmlLinear final : public Linear {
 public:
  GgmlLinear(const StoredWeights& source, const StoredWeight& w)
      : Linear(w.info.rows(), w.info.cols()),
        source_(source),
        info_(w.info),
        pairs_(w.info.dtype == Dtype::bf16 && ggml_sums_pairs(in)) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    std::vector<float> rounded(x, x + tokens * in);
    round_to(info_.dtype, rounded);
    if (pairs_) ggml_pair_order(rounded);
    constexpr int64_t kPanelFloats = 1 << 15;  // stay in the second-level cache while all tokens pass
    const int64_t panel = round_up<int64_t>(std::max<int64_t>(kPanelFloats / in, 1), 4);
    parallel_for(ceil_div(row_end - row_begin, panel), [&](int64_t i) {
      const int64_t begin = row_begin + i * panel, rows = std::min(panel, row_end - begin);
      std::vector<float> weights(static_cast<size_t>(rows * in));
      source_.read(info_, begin, weights);
      check_finite(weights, info_.name, begin, in);
      if (pairs_) ggml_pair_order(weights);
      ggml_ops().product(weights.data(), rows, rounded.data(), tokens, in, y + i * panel, y_stride);
    });
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    source_.read(info_, row_begin, std::span(to, static_cast<size_t>((row_end - row_begin) * in)));
  }

 private:
  const StoredWeights& source_;
  const TensorInfo& info_;
  const bool pairs_;
};

// y = W x + scale B (A x), all in float32, which is PEFT's arithmetic in any model; or as llama.cpp multiplies, each
// activation first rounded to the factors' type.
class AdaptedLinear final : public Linear {
 public:
  AdaptedLinear(std::unique_ptr<Linear> base, const Adapter::OfMatrix& m, bool ggml)
      : Linear(base->out, base->in), base_(std::move(base)), m_(m), ggml_(ggml) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    base_->apply(x, tokens, row_begin, row_end, y, y_stride);
    constexpr int64_t kTokensPerTask = 64;
    const int64_t rank = m_.factors.rank, rows = row_end - row_begin;
    parallel_for(ceil_div(tokens, kTokensPerTask), [&](int64_t task) {
      const int64_t first = task * kTokensPerTask, n = std::min(kTokensPerTask, tokens - first);
      std::vector<float> narrow(static_cast<size_t>(n * rank)), wide(static_cast<size_t>(n * rows));
      product({x + first * in, static_cast<size_t>(n * in)}, m_.factors.a.data(), rank, in, narrow);
      product(narrow, m_.factors.b.data() + row_begin * rank, rows, rank, wide);
      for (int64_t t = 0; t < n; ++t)
        for (int64_t r = 0; r < rows; ++r)
          y[(first + t) * y_stride + r] += m_.scale * wide[static_cast<size_t>(t * rows + r)];
    });
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    base_->read_rows(row_begin, row_end, to);
    std::vector<float> b(m_.factors.b.begin() + row_begin * m_.factors.rank,
                         m_.factors.b.begin() + row_end * m_.factors.rank);
    for (float& v : b) v *= m_.scale;
    add_product_nn(row_end - row_begin, m_.factors.rank, in, b.data(), m_.factors.rank, m_.factors.a.data(), in, to,
                   in);
  }

 private:
  // y [tokens, rows] of x [tokens, n] and w [rows, n].
  void product(std::span<const float> x, const float* w, int64_t rows, int64_t n, std::span<float> y) const {
    const int64_t tokens = std::ssize(x) / n;
    if (!ggml_) return matmul_nt(tokens, rows, n, x.data(), n, w, n, y.data(), rows);
    std::vector<float> rounded(x.begin(), x.end());
    round_to(m_.type, rounded);
    ggml_ops().product(w, rows, rounded.data(), tokens, n, y.data(), rows);
  }

  const std::unique_ptr<Linear> base_;
  const Adapter::OfMatrix& m_;
  const bool ggml_;
};

class AdaptedWeights final : public WeightProvider {
 public:
  AdaptedWeights(std::unique_ptr<WeightProvider> base, const Adapter& adapter, bool ggml)
      : base_(std::move(base)), adapter_(adapter), ggml_(ggml) {}

  std::unique_ptr<Linear> linear(const Site& site) override {
    const auto at = adapter_.matrices.find(site.name);
    std::unique_ptr<Linear> matrix = base_->linear(site);
    if (at == adapter_.matrices.end()) return matrix;
    return std::make_unique<AdaptedLinear>(std::move(matrix), at->second, ggml_);
  }
  std::vector<float> vector(const std::string& name) override { return base_->vector(name); }
  void embed(std::span<const int32_t> ids, float* out) override { base_->embed(ids, out); }

 private:
  const std::unique_ptr<WeightProvider> base_;
  const Adapter& adapter_;
  const bool ggml_;
};

class RuntimeWeights final : public WeightProvider {
 public:
  RuntimeWeights(const Artifact& a, bool vllm)
      : artifact_(a), vllm_(vllm), decoded_(dense_weights(a.architecture, *a.weights)) {}

  std::unique_ptr<Linear> linear(const Site& site) override {
    const StoredWeight* w = artifact_.weights->weight(site.name);
    if (w && w->gemm) return std::make_unique<PackedLinear>(*w, vllm_ && w->vllm ? *w->vllm : *w->gemm);
    if (w && artifact_.gguf_rounding) return std::make_unique<GgmlLinear>(*artifact_.weights, *w);
    return decoded_->linear(site);
  }
  std::vector<float> vector(const std::string& name) override { return decoded_->vector(name); }
  void embed(std::span<const int32_t> ids, float* out) override { decoded_->embed(ids, out); }

 private:
  const Artifact& artifact_;
  const bool vllm_;
  std::unique_ptr<WeightProvider> decoded_;
};

}  // namespace

void decode_file_row(const StoredWeight& w, int64_t row, std::span<float> out) {
  if (w.gemm) {
    w.gemm->dequantize(w.packed, row, out.data());
    if (w.output_scale != 1)
      for (float& v : out) v *= w.output_scale;
    return;
  }
  if (w.decode) {
    w.decode(row, out);
    return;
  }
  const auto row_bytes = static_cast<size_t>(bytes_of(w.info.dtype, w.info.cols()));
  to_f32(w.info.dtype, w.bytes.subspan(static_cast<size_t>(row) * row_bytes, row_bytes), out);
}

StoredWeights::StoredWeights(std::unique_ptr<Reader> reader, std::vector<StoredWeight> weights)
    : reader_(std::move(reader)), weights_(std::move(weights)) {
  infos_.reserve(weights_.size());
  for (const StoredWeight& w : weights_) infos_.push_back(w.info);
  for (size_t i = 0; i < weights_.size(); ++i)
    if (!index_.emplace(infos_[i].name, i).second)
      fail(ErrorKind::bad_input, "{} is stored twice in {}", infos_[i].name, reader_->path().string());
}

const TensorInfo* StoredWeights::find(std::string_view name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &infos_[at->second];
}

const StoredWeight* StoredWeights::weight(std::string_view name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &weights_[at->second];
}

void StoredWeights::read(const TensorInfo& info, int64_t row_begin, std::span<float> out) const {
  const StoredWeight* w = weight(info.name);
  const auto cols = static_cast<size_t>(info.cols());
  if (!w) fail(ErrorKind::internal, "no tensor {} here", info.name);
  const auto rows = static_cast<uint64_t>(w->info.rows() - row_begin);
  if (row_begin < 0 || row_begin > w->info.rows() || w->info.shape != info.shape ||
      (cols == 0 ? !out.empty() : out.size() % cols != 0 || out.size() / cols > rows))
    fail(ErrorKind::internal, "{} elements from row {} of {} were asked for, which has {} rows of {}", out.size(),
         row_begin, info.name, w->info.rows(), cols);
  if (cols == 0) return;
  const bool plain = !w->gemm && !w->decode;
  if (plain && bits_of(info.dtype) % 8 != 0)
    fail(ErrorKind::unsupported, "{}: the tensor '{}' has the dtype {}, which cannot be read as numbers here",
         reader_->path().string(), info.name, name_of(info.dtype));
  if (plain && w->file_row.empty()) {
    read_plain(*w, row_begin * info.cols(), out);
    return;
  }
  for (size_t done = 0; done < out.size(); done += cols, ++row_begin)
    decode_file_row(*w, w->file_row.empty() ? row_begin : w->file_row[static_cast<size_t>(row_begin)],
                    out.subspan(done, cols));
}

// Numbers in the order of the file, of whole bytes each: through a buffer that stays in the processor's cache.
void StoredWeights::read_plain(const StoredWeight& w, int64_t begin, std::span<float> out) const {
  std::array<std::byte, 1 << 16> piece;
  const auto size = static_cast<size_t>(bits_of(w.info.dtype) / 8);
  std::span<const std::byte> from = w.bytes.subspan(static_cast<size_t>(begin) * size, out.size() * size);
  while (!out.empty()) {
    const size_t n = std::min(out.size(), piece.size() / size);
    const std::span<std::byte> bytes = std::span(piece).first(n * size);
    reader_->read(from.first(bytes.size()), bytes);
    to_f32(w.info.dtype, bytes, out.first(n));
    from = from.subspan(bytes.size());
    out = out.subspan(n);
  }
}

std::unique_ptr<WeightProvider> weights_of(const Artifact& a, VerifyMode n, bool adapted) {
  const bool exact = n == VerifyMode::float32;
  std::unique_ptr<WeightProvider> base;
  if (exact)
    base = dense_weights(a.architecture, *a.weights);
  else
    base = std::make_unique<RuntimeWeights>(a, n == VerifyMode::vllm);
  if (!a.adapter || !adapted) return base;
  return std::make_unique<AdaptedWeights>(std::move(base), *a.adapter, a.gguf_rounding && !exact);
}

}  // namespace kerf
