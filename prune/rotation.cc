#include "prune/rotation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/error.h"
#include "kernels/dense/dense.h"

namespace kerf {
namespace {

constexpr const char* kStream = "x";
constexpr float kAlike = 0.25F;  // relative to the median

bool reads(const Op& op, const std::string& slot) {
  return std::find(op.inputs.begin(), op.inputs.end(), slot) != op.inputs.end();
}

// Whatever reads the slot until something else is written to it.
std::vector<const Op*> readers_of(const Ops& ops, size_t writer) {
  std::vector<const Op*> readers;
  for (size_t i = writer + 1; i < ops.size(); ++i) {
    if (reads(ops[i], ops[writer].output)) readers.push_back(&ops[i]);
    if (ops[i].output == ops[writer].output) break;
  }
  return readers;
}

// The operation that wrote what ops[reader] reads under that name; nullptr: it came from outside.
const Op* writer_of(const Ops& ops, size_t reader, const std::string& slot) {
  for (size_t i = reader; i-- > 0;)
    if (ops[i].output == slot) return &ops[i];
  return nullptr;
}

// How many of the operations see the stream itself: a norm may take its place, before the head.
size_t before_last_norm(const Ops& ops) {
  for (size_t i = 0; i < ops.size(); ++i)
    if (ops[i].as<Norm>() && ops[i].output == kStream) return i + 1;
  return ops.size();
}

std::string refused(const Ops& ops) {
  for (size_t i = 0; i < before_last_norm(ops); ++i) {
    const Op& op = ops[i];
    if (!reads(op, kStream)) continue;
    if (const auto* norm = op.as<Norm>()) {
      if (norm->kind != Norm::Kind::rms || norm->bias || norm->per_group)
        return fmt::format("{} is no RMS norm over the whole stream", norm->weight.role);
      for (const Op* reader : readers_of(ops, i))
        if (!reader->as<MatMul>()) return fmt::format("not only matrices read what {} gives", norm->weight.role);
    } else if (op.as<Add>()) {
      for (const std::string& slot : op.inputs) {
        const Op* writer = slot == kStream ? nullptr : writer_of(ops, i, slot);
        if (const Norm* norm = writer ? writer->as<Norm>() : nullptr)
          return fmt::format("{} stands between a matrix and the residual stream", norm->weight.role);
        if (slot != kStream && (!writer || !writer->as<MatMul>())) return "not only matrices are added to the stream";
      }
    } else {
      return "the residual stream is read by more than norms";
    }
  }
  return "";
}

// As the model has them.
std::vector<float> norm_weights(const Norm& norm, const TensorSource& source, int64_t layer) {
  const TensorInfo& info = *source.find(weight_name(norm.weight, layer));
  std::vector<float> w(static_cast<size_t>(info.elements()));
  source.read(info, 0, w);
  for (float& x : w) x += info.plus;
  return w;
}

// Of QT diag(w) Q.
std::vector<float> rotated_diagonal(const std::vector<float>& q, const std::vector<float>& w) {
  if (q.empty()) return w;
  const size_t n = w.size();
  std::vector<double> sum(n);
  for (size_t r = 0; r < n; ++r)
    for (size_t k = 0; k < n; ++k)
      sum[k] += static_cast<double>(w[r]) * static_cast<double>(q[r * n + k]) * static_cast<double>(q[r * n + k]);
  return {sum.begin(), sum.end()};
}

std::vector<float> transposed(const std::vector<float>& q, int64_t n) {
  std::vector<float> t(q.size());
  if (q.empty()) return t;
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < n; ++c) t[static_cast<size_t>(c * n + r)] = q[static_cast<size_t>(r * n + c)];
  return t;
}

}  // namespace

std::string rotation_refused(const Architecture& a) {
  std::set<std::string> reasons;
  for (const Ops& ops : a.kinds) reasons.insert(refused(ops));
  reasons.insert(refused(a.after));
  reasons.erase("");
  return reasons.empty() ? "" : *reasons.begin();
}

std::vector<int64_t> channels_to_mix(const Architecture& a, const TensorSource& source) {
  std::vector<int64_t> all(static_cast<size_t>(a.hidden()));
  std::iota(all.begin(), all.end(), 0);
  const size_t last = before_last_norm(a.after);
  if (!a.tied || last == a.after.size()) return all;
  const std::vector<float> w = norm_weights(*a.after[last - 1].as<Norm>(), source, -1);
  std::vector<float> rising = w;
  std::nth_element(rising.begin(), rising.begin() + std::ssize(rising) / 2, rising.end());
  const float median = rising[rising.size() / 2];
  std::erase_if(all,
                [&](int64_t c) { return std::abs(w[static_cast<size_t>(c)] - median) > kAlike * std::abs(median); });
  return all;
}

RotatedWeights::RotatedWeights(const Architecture& a, const TensorSource& source, std::vector<float> q)
    : source_(source), width_(a.hidden()), q_(std::move(q)), transposed_(transposed(q_, width_)) {
  if (const std::string reason = rotation_refused(a); !reason.empty())
    fail(ErrorKind::internal, "the stream was to be rotated although {}", reason);
  changes_[a.embedding().name].columns = true;
  const auto add = [&](const Ops& ops, int64_t layer) {
    for (size_t i = 0; i < before_last_norm(ops); ++i) {
      if (!reads(ops[i], kStream)) continue;
      if (const auto* norm = ops[i].as<Norm>()) {
        const std::vector<float> weight = norm_weights(*norm, source, layer);
        const bool kept = a.tied && &ops == &a.after;
        std::vector<float>& becomes = changes_[weight_name(norm->weight, layer)].becomes;
        becomes = kept ? rotated_diagonal(q_, weight) : std::vector<float>(weight.size(), 1);
        for (float& w : becomes) w -= norm->weight.checkpoint.plus;
        if (kept) continue;
        for (const Op* reader : readers_of(ops, i)) {
          Change& change = changes_[weight_name(reader->as<MatMul>()->weight, layer)];
          change.columns = true;
          change.norm = weight;
        }
      } else {
        for (const std::string& slot : ops[i].inputs) {
          if (slot == kStream) continue;
          const auto* matrix = writer_of(ops, i, slot)->as<MatMul>();
          changes_[weight_name(matrix->weight, layer)].rows = true;
          if (matrix->bias) changes_[weight_name(*matrix->bias, layer)].rows = true;
        }
      }
    }
  };
  for (int64_t layer = 0; layer < a.layers(); ++layer) add(a.block(layer), layer);
  add(a.after, -1);
}

void RotatedWeights::read(const TensorInfo& info, int64_t row_begin, std::span<float> out) const {
  const auto at = changes_.find(info.name);
  const Change change = at == changes_.end() ? Change() : at->second;
  if (!change.becomes.empty()) {
    std::copy_n(change.becomes.begin() + row_begin, out.size(), out.begin());
    return;
  }
  const int64_t cols = info.cols(), rows = static_cast<int64_t>(out.size()) / cols;
  if (change.rows && !q_.empty()) {
    std::vector<float> whole(static_cast<size_t>(width_ * cols)), flipped(whole.size());
    source_.read(info, 0, whole);
    for (int64_t r = 0; r < width_; ++r)
      for (int64_t c = 0; c < cols; ++c)
        flipped[static_cast<size_t>(c * width_ + r)] = whole[static_cast<size_t>(r * cols + c)];
    matmul_nt(rows, cols, width_, transposed_.data() + row_begin * width_, width_, flipped.data(), width_, out.data(),
              cols);
    return;
  }
  source_.read(info, row_begin, out);
  if (!change.norm.empty())
    for (size_t i = 0; i < out.size(); ++i) out[i] *= change.norm[i % static_cast<size_t>(width_)];
  if (!change.columns || q_.empty()) return;
  const std::vector<float> folded(out.begin(), out.end());
  matmul_nt(rows, width_, width_, folded.data(), width_, transposed_.data(), width_, out.data(), width_);
}

}  // namespace kerf
