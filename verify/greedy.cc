// A step runs the whole text, but its matrices multiply only the last tokens. Of the tokens before them nothing is read
// but keys and values, whose products are remembered; everything else of them is left at zero.
#include "verify/greedy.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "model/run/logits.h"

namespace kerf {
namespace {

// Products with keys' and values' matrices: row `token` of window `window`.
struct Remembered {
  int64_t windows, longest, out;
  std::vector<float> y = std::vector<float>(static_cast<size_t>(windows * longest * out));

  float* row(int64_t window, int64_t token) { return y.data() + (window * longest + token) * out; }
};

// A matrix for tokens [known, length) of every window, whole windows at a time, in their order.
class LastTokens final : public Linear {
 public:
  LastTokens(std::unique_ptr<Linear> whole, int64_t known, int64_t length, Remembered* memory)
      : Linear(whole->out, whole->in), whole_(std::move(whole)), known_(known), length_(length), memory_(memory) {}

  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    const int64_t windows = tokens / length_, added = length_ - known_, rows = row_end - row_begin;
    std::vector<float> last_x, last_y(static_cast<size_t>(windows * added * rows));
    for (int64_t w = 0; w < windows; ++w)
      last_x.insert(last_x.end(), x + (w * length_ + known_) * in, x + (w + 1) * length_ * in);
    whole_->apply(last_x.data(), windows * added, row_begin, row_end, last_y.data(), rows);
    for (int64_t w = 0; w < windows; ++w)
      for (int64_t t = 0; t < length_; ++t) {
        const float* computed = t < known_ ? nullptr : last_y.data() + (w * added + t - known_) * rows;
        put(computed, rows, memory_ ? memory_->row(first_window_ + w, t) + row_begin : nullptr,
            y + (w * length_ + t) * y_stride);
      }
    first_window_ += windows;
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    whole_->read_rows(row_begin, row_end, to);
  }

 private:
  // One row: what was computed is remembered, what was not is what was remembered, or nothing.
  static void put(const float* computed, int64_t n, float* remembered, float* to) {
    if (computed && remembered) std::copy_n(computed, n, remembered);
    if (const float* from = computed ? computed : remembered)
      std::copy_n(from, n, to);
    else
      std::fill_n(to, n, 0.0F);
  }

  const std::unique_ptr<Linear> whole_;
  const int64_t known_, length_;
  Remembered* const memory_;
  mutable int64_t first_window_ = 0;
};

// The weights of one step after the other.
class WeightsOfLastTokens final : public WeightProvider {
 public:
  WeightsOfLastTokens(const Artifact& a, int64_t windows, int64_t longest)
      : weights_(weights_of(a, VerifyMode::float32)), windows_(windows), longest_(longest) {
    for (const Ops& ops : a.architecture.kinds)
      for (const Op& op : ops)
        if (const Attend* attend = op.as<Attend>()) keys_and_values_.insert(attend->kv);
  }
  void begin(int64_t known, int64_t length) {
    known_ = known;
    length_ = length;
  }

  std::unique_ptr<Linear> linear(const Site& site) override {
    std::unique_ptr<Linear> whole = weights_->linear(site);
    if (site.layer < 0) return whole;
    Remembered* memory = nullptr;
    if (keys_and_values_.contains(site.out_axis))
      memory = &memory_.try_emplace(site.name, Remembered{windows_, longest_, site.out}).first->second;
    return std::make_unique<LastTokens>(std::move(whole), known_, length_, memory);
  }
  std::vector<float> vector(const std::string& name) override { return weights_->vector(name); }
  void embed(std::span<const int32_t> ids, float* out) override { weights_->embed(ids, out); }

 private:
  const std::unique_ptr<WeightProvider> weights_;
  const int64_t windows_, longest_;
  std::set<AxisId> keys_and_values_;
  std::map<std::string, Remembered> memory_;
  int64_t known_ = 0, length_ = 0;
};

// After the last token of every window. By panels of the vocabulary, each of which is converted once.
std::vector<int32_t> most_probable(const Logits& logits, const Windows& w) {
  constexpr int64_t kPanel = 1024;
  std::vector<int32_t> best(static_cast<size_t>(w.count));
  std::vector<float> largest(best.size(), -std::numeric_limits<float>::infinity()), y(kPanel);
  for (int64_t row = 0; row < logits.vocab(); row += kPanel) {
    const int64_t end = std::min(logits.vocab(), row + kPanel);
    for (size_t i = 0; i < best.size(); ++i) {
      logits.panel((static_cast<int64_t>(i) + 1) * w.length - 1, 1, row, end, y.data(), end - row);
      const auto most = std::max_element(y.begin(), y.begin() + (end - row));
      if (*most <= largest[i]) continue;
      largest[i] = *most;
      best[i] = static_cast<int32_t>(row + (most - y.begin()));
    }
  }
  return best;
}

Windows longer(const Windows& w, const std::vector<int32_t>& next) {
  Windows out{.count = w.count, .length = w.length + 1, .bos = w.bos};
  for (int64_t i = 0; i < w.count; ++i) {
    const std::span<const int32_t> window = w.window(i);
    out.ids.insert(out.ids.end(), window.begin(), window.end());
    out.ids.push_back(next[static_cast<size_t>(i)]);
  }
  return out;
}

}  // namespace

std::vector<std::vector<int32_t>> continue_greedily(const Artifact& a, const Windows& prompts, int64_t tokens) {
  std::vector<std::vector<int32_t>> written(static_cast<size_t>(prompts.count));
  WeightsOfLastTokens weights(a, prompts.count, prompts.length + tokens);
  Windows w = prompts;
  int64_t known = 0;
  for (int64_t step = 0; step < tokens; ++step) {
    weights.begin(known, w.length);
    BlockwiseForward stream(a.architecture, weights, {}, w);
    stream.run();
    const std::vector<int32_t> next = most_probable(Logits(a.architecture, weights, stream), w);
    for (size_t i = 0; i < next.size(); ++i) written[i].push_back(next[i]);
    known = w.length;
    w = longer(w, next);
  }
  return written;
}

}  // namespace kerf
