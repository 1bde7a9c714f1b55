#include "model/run/logits.h"

#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/error.h"
#include "core/file.h"
#include "core/npy.h"
#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {

Logits::Logits(const Architecture& a, WeightProvider& weights, const BlockwiseForward& pass)
    : head_(weights.linear(a.head())), hidden_(pass.hidden()), rounding_(pass.arithmetic().stream) {
  if (!pass.finished()) fail(ErrorKind::internal, "logits were asked for before the last block had run");
  const auto head = a.after.begin() + static_cast<std::ptrdiff_t>(a.head_at());
  tail_.assign(head + 1, a.after.end());
  runner_ = std::make_unique<OpRunner>(a, tail_, pass.arithmetic(), 1);
  if (head->as<MatMul>()->bias) bias_ = weights.vector(site_of(a, *head, -1).bias);
}

// One token's logits, in place.
void Logits::finish(float* y, int64_t row_begin, int64_t rows) const {
  const Rounding rounding = rounding_of(rounding_);
  if (!bias_.empty())
    elementwise().add(y, bias_.data() + row_begin, rows, rounding);
  else
    elementwise().round(y, rows, rounding);
  const float* in[] = {y};
  for (size_t i = 0; i < tail_.size(); ++i) runner_->apply(i, {}, 1, in, y, rows);
}

void Logits::panel(int64_t token_begin, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
                   int64_t y_stride) const {
  head_->apply(hidden_.data() + token_begin * head_->in, tokens, row_begin, row_end, y, y_stride);
  if (bias_.empty() && tail_.empty() && rounding_of(rounding_) == Rounding::none) return;
  constexpr int64_t kRows = 16;
  parallel_for(ceil_div(tokens, kRows), [&](int64_t i) {
    for (int64_t t = i * kRows; t < std::min(tokens, (i + 1) * kRows); ++t)
      finish(y + t * y_stride, row_begin, row_end - row_begin);
  });
}

void write_logits_npy(const std::filesystem::path& path, const Logits& logits, const Windows& windows) {
  AtomicFile file(path);
  const int64_t shape[] = {windows.count, windows.length, logits.vocab()};
  file.append(as_bytes(npy_header(shape)));

  constexpr int64_t kBufferFloats = int64_t{1} << 24;  // 64 MiB
  const int64_t vocab = logits.vocab(), step = std::max<int64_t>(1, kBufferFloats / vocab);
  std::vector<float> rows(static_cast<size_t>(std::min(step, windows.tokens()) * vocab));
  for (int64_t begin = 0; begin < windows.tokens(); begin += step) {
    const int64_t n = std::min(step, windows.tokens() - begin);
    logits.panel(begin, n, 0, vocab, rows.data(), vocab);
    parallel_for(n, [&](int64_t t) {
      float* row = rows.data() + t * vocab;
      const Elementwise& ops = elementwise();
      const float most = ops.max(row, vocab);
      const double log_sum = static_cast<double>(most) + std::log(ops.sum_exp(row, vocab, most));
      for (int64_t r = 0; r < vocab; ++r) row[r] = static_cast<float>(static_cast<double>(row[r]) - log_sum);
    });
    file.append(std::as_bytes(std::span(rows.data(), static_cast<size_t>(n * vocab))));
  }
  file.commit();
}

}  // namespace kerf
