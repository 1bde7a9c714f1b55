#include "distill/own_text.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/random.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/run/decoder.h"

namespace kerf {
namespace {

constexpr int64_t kTextsAtOnce = 128;

// The first id whose share of the probabilities, added up, passes u; the last one where rounding leaves none.
int32_t drawn(std::span<const float> probabilities, double u) {
  double sum = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    sum += static_cast<double>(probabilities[i]);
    if (u < sum) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin());
}

}  // namespace

Windows write_own_text(const Architecture& a, const TensorSource& source, const OwnText& o,
                       const std::function<void(int64_t)>& done) {
  // Each text fills the model's window, one after another's end; put together they are cut like any other text, so that
  // windows begin anywhere in one. BOS and ends are no part of it, so some texts more are written.
  const int64_t texts = o.windows + o.windows / 16 + 1;
  std::vector<std::vector<int32_t>> written(static_cast<size_t>(texts));
  const int64_t at_once = std::min(kTextsAtOnce, texts), vocab = a.vocab();
  Decoder decoder(a, source, at_once, o.length);
  const auto is_end = [&](int32_t id) { return std::find(o.ends.begin(), o.ends.end(), id) != o.ends.end(); };
  std::vector<int32_t> ids(static_cast<size_t>(at_once));
  std::vector<float> rows(static_cast<size_t>(at_once * vocab));
  for (int64_t first = 0; first < texts; first += at_once) {
    const int64_t n = std::min(at_once, texts - first);  // the last texts of the last turn are not used
    decoder.restart();
    for (int64_t t = 0; t < o.length; ++t) {
      parallel_for(at_once, [&](int64_t i) {
        int32_t& id = ids[static_cast<size_t>(i)];
        // An end that is the BOS too begins the next text itself.
        const bool begins = t == 0 || (is_end(id) && id != o.bos);
        const double u = uniform(random_bits(o.seed, first + i, t));
        if (o.bos && begins) {
          id = *o.bos;
        } else if (t == 0) {
          id = static_cast<int32_t>(u * static_cast<double>(vocab));
        } else {
          const std::span<float> row =
              std::span(rows).subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab));
          elementwise().softmax(row.data(), vocab, vocab, static_cast<float>(1 / o.temperature), false, Rounding::none);
          id = drawn(row, u);
        }
        if (i < n && id != o.bos && !is_end(id)) written[static_cast<size_t>(first + i)].push_back(id);
      });
      if (t + 1 == o.length) break;
      const std::span<const float> logits = decoder.next(ids);
      std::copy(logits.begin(), logits.end(), rows.begin());
    }
    if (done) done(n);
  }
  std::vector<int32_t> ids_of_all;
  for (const std::vector<int32_t>& text : written) ids_of_all.insert(ids_of_all.end(), text.begin(), text.end());
  return cut_windows(ids_of_all, o.bos, o.length, o.windows, 0);
}

}  // namespace kerf
