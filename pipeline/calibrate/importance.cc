// The architecture says what GGUF calls each matrix; the order of inputs is the checkpoint's in both.
#include "pipeline/calibrate/importance.h"

#include <algorithm>
#include <set>

#include "core/checked.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/words.h"
#include "model/ops/folds.h"
#include "model/run/blockwise_forward.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/full_precision.h"

namespace kerf {
namespace {

// Columns whose sums one task keeps in registers and the first cache.
constexpr int64_t kColumns = 64;

// Sum over tokens of x[t, c]^2; each column in the order of the tokens, in double.
std::vector<float> sums_of_squares(const float* x, int64_t tokens, int64_t cols) {
  std::vector<float> sums(static_cast<size_t>(cols));
  parallel_for(ceil_div(cols, kColumns), [&](int64_t task) {
    const int64_t begin = task * kColumns, n = std::min(cols - begin, kColumns);
    double sum[kColumns] = {};
    for (int64_t t = 0; t < tokens; ++t) {
      const float* row = x + t * cols + begin;
      for (int64_t c = 0; c < n; ++c) sum[c] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    }
    for (int64_t c = 0; c < n; ++c) sums[static_cast<size_t>(begin + c)] = static_cast<float>(sum[c]);
  });
  return sums;
}

// The variance in units of the squared mean.
double spread(std::span<const float> x) {
  double sum = 0, squares = 0;
  for (const float v : x) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  return sum > 0 ? static_cast<double>(x.size()) * squares / (sum * sum) - 1 : 0;
}

// Channels that differ by less than a quarter are weighed alike: that search is faster, and there is nothing to gain.
// tinytales has 0.04 to 0.14, and 1.6 before its first attention; stories15M less than 0.03, and 0.35 there.
constexpr double kWorthWeighing = 1.0 / 16;

// As llama.cpp calls the matrix; where it has no name for it, as the checkpoint does.
const std::string& entry_name(const Site& site) { return site.gguf.empty() ? site.name : site.gguf; }

}  // namespace

SiteStatistics statistics_of(const Architecture& a, const Imatrix& m, const std::string& file) {
  SiteStatistics all;
  std::set<std::string> names;
  std::vector<std::string> unknown, partly;  // of which nothing is known, or of some columns
  int64_t columns = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) {
      const std::string& name = entry_name(site);
      const auto at = m.entries.find(name);
      if (at == m.entries.end())
        fail(ErrorKind::bad_input, "{} has no entry {}: it is the importance matrix of another model", file, name);
      const ImatrixEntry& e = at->second;
      if (static_cast<int64_t>(e.sums.size()) != site.in)
        fail(ErrorKind::bad_input,
             "{} has {} channels for {}, and {} of the model has {} inputs: it is the importance "
             "matrix of another model",
             file, e.sums.size(), name, site.name, site.in);
      names.insert(name);
      const auto silent = std::count(e.sums.begin(), e.sums.end(), 0.0f);
      if (e.count == 0 || silent == site.in) {
        unknown.push_back(name);
        continue;
      }
      if (silent > 0) {
        partly.push_back(name);
        columns += silent;
      }
      InputStatistics s{.tokens = e.count};
      for (const float sum : e.sums) s.importance.push_back(sum / static_cast<float>(e.count));
      all.emplace(site.name, std::move(s));
    }
  for (const auto& [name, entry] : m.entries)
    if (name.starts_with("blk.") && !names.contains(name))
      fail(ErrorKind::bad_input,
           "{} has the entry {}, and the model no such matrix: it is the importance matrix of another "
           "model",
           file, name);
  if (!unknown.empty())
    warn(
        fmt::format("{} knows nothing of {} of the {} matrices ({}): no token came to them; all their weights count "
                    "alike",
                    file, unknown.size(), names.size(), some_of(unknown)));
  if (!partly.empty())
    warn(fmt::format(
        "{} has an importance of 0 for {} columns of {} of the {} matrices ({}); they count as the least of the others",
        file, columns, partly.size(), names.size(), some_of(partly)));
  return all;
}

SiteStatistics statistics_of_norms(const Architecture& a, const TensorSource& source) {
  SiteStatistics all;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) {
      const std::optional<Fold> fold = fold_before(a, site);
      if (!fold || fold->norm.empty()) continue;
      InputStatistics s;
      s.importance = read_vector(source, fold->norm);
      for (float& v : s.importance) v *= v;
      if (!fold->norm_bias.empty()) {
        const std::vector<float> bias = read_vector(source, fold->norm_bias);
        for (size_t i = 0; i < bias.size(); ++i) s.importance[i] += bias[i] * bias[i];
      }
      if (spread(s.importance) > kWorthWeighing) all.emplace(site.name, std::move(s));
    }
  return all;
}

Imatrix measure_imatrix(const Artifact& a, const Windows& windows) {
  Imatrix m{.chunks = windows.count, .chunk_tokens = windows.length};
  const std::unique_ptr<WeightProvider> weights = weights_of(a, VerifyMode::float32);
  BlockwiseForward stream(a.architecture, *weights, fast_arithmetic(), windows);
  Progress progress("measuring block", a.architecture.layers());
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer) {
    stream.run_block_in_groups(layer, [&](const BlockwiseForward::Group& g) {
      const ImatrixEntry entry{sums_of_squares(g.x, g.tokens, g.sites[0].in), g.tokens};
      for (const Site& site : g.sites) m.entries.emplace(entry_name(site), entry);
      return passthrough(g, *a.weights);
    });
    progress.advance();
  }
  return m;
}

}  // namespace kerf
