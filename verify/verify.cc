#include "verify/verify.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace {

// ||y_packed - y||^2 and ||y||^2 of one site.
struct Squares {
  double difference = 0, reference = 0;
};

Squares site_squares(WeightProvider& weights, const Arithmetic& arithmetic, const Site& site, const float* x,
                     int64_t tokens, const float* y) {
  std::vector<float> input(x, x + tokens * site.in), output(static_cast<size_t>(tokens * site.out));
  round_to(arithmetic.stream, input);
  weights.linear(site)->apply(input.data(), tokens, 0, site.out, output.data(), site.out);
  if (!site.bias.empty()) {
    const std::vector<float> bias = weights.vector(site.bias);
    for (size_t i = 0; i < output.size(); ++i) output[i] += bias[i % bias.size()];
  }
  round_to(arithmetic.stream, output);
  Squares s;
  for (size_t i = 0; i < output.size(); ++i) {
    const double d = static_cast<double>(output[i]) - static_cast<double>(y[i]);
    s.difference += d * d;
    s.reference += static_cast<double>(y[i]) * static_cast<double>(y[i]);
  }
  return s;
}

struct Run {
  const Artifact* artifact;
  Correspondence map;
  Windows windows;  // in the artifact's ids
  Arithmetic arithmetic;
  std::unique_ptr<WeightProvider> weights;
  std::optional<BlockwiseForward> stream;
  int64_t next = 0;              // block to run
  std::vector<Site> sites = {};  // of that block, while the reference's runs

  /// Whether the block to run next lies in the reference's block `layer`.
  bool meets(int64_t layer) const { return next < artifact->architecture.layers() && map.layer(next) == layer; }
  const Site* counterpart(const Site& site) const {
    for (const Site& s : sites)
      if (s.role == site.role && s.out == site.out && s.in == site.in) return &s;
    return nullptr;
  }
};

// In place: the pass refers to what stands beside it.
std::unique_ptr<Run> start(const Artifact& a, VerifyMode numerics, Correspondence map, Windows windows,
                           bool adapted = true) {
  auto run = std::make_unique<Run>(
      Run{&a, std::move(map), std::move(windows), arithmetic_of(a, numerics), weights_of(a, numerics, adapted), {}});
  run->stream.emplace(a.architecture, *run->weights, run->arithmetic, run->windows);
  return run;
}

}  // namespace

std::vector<Verification> verify(const Artifact& reference, std::span<const VerifySide> packed,
                                 const Windows& windows) {
  const auto named = [](const Artifact& a) { return NamedShape{a.path.string(), a.architecture}; };
  std::vector<Correspondence> maps;
  std::vector<Windows> in_packed_ids;
  for (const VerifySide& p : packed) {
    maps.push_back(p.correspondence ? *p.correspondence : read_correspondence(p.artifact->path));
    check_correspondence(maps.back(), named(reference), named(*p.artifact));
    in_packed_ids.push_back(to_packed_ids(maps.back(), windows, reference.architecture.vocab()));
  }
  const std::unique_ptr<Run> original = start(reference, VerifyMode::float32, {}, windows);
  std::vector<std::unique_ptr<Run>> runs;
  for (size_t i = 0; i < packed.size(); ++i)
    runs.push_back(start(*packed[i].artifact, packed[i].numerics, std::move(maps[i]), std::move(in_packed_ids[i]),
                         packed[i].adapted));
  std::vector<Verification> results(packed.size());

  const int64_t layers = reference.architecture.layers();
  {
    Progress progress("verifying block", layers);
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const auto& run : runs)
        run->sites = run->meets(layer) ? run->artifact->architecture.block_sites(run->next) : std::vector<Site>();
      // Only the first batch of each site: batches come in order, so a site that was seen begins the second.
      std::unordered_set<std::string> seen;
      original->stream->run_block(layer, [&](const Site& site, const float* x, int64_t tokens, const float* y) {
        if (!seen.insert(site.name).second) return;
        for (size_t i = 0; i < runs.size(); ++i) {
          Run& run = *runs[i];
          const Site* mine = run.counterpart(site);
          if (!mine) continue;
          const Squares s = site_squares(*run.weights, run.arithmetic, *mine, x, tokens, y);
          results[i].sites.push_back({mine->name, run.artifact->weights->weight(mine->name)->type,
                                      s.reference > 0 ? std::sqrt(s.difference / s.reference) : 0.0});
        }
      });
      for (const auto& run : runs)
        if (run->meets(layer)) run->stream->run_block(run->next++);
      progress.advance();
    }
  }
  original->stream->finish();
  const Logits reference_logits(reference.architecture, *original->weights, *original->stream);
  std::vector<std::unique_ptr<Logits>> logits;
  std::vector<const Logits*> views;
  std::vector<const std::vector<int32_t>*> kept;
  for (const auto& run : runs) {
    run->stream->finish();
    logits.push_back(std::make_unique<Logits>(run->artifact->architecture, *run->weights, *run->stream));
    views.push_back(logits.back().get());
    kept.push_back(run->map.tokens.empty() ? nullptr : &run->map.tokens);
  }
  std::optional<Progress> progress;
  const auto advance = [&](int64_t, int64_t parts) {
    if (!progress) progress.emplace("comparing logits", parts);
    progress->advance();
  };
  std::vector<Comparison> comparisons = compare(reference_logits, views, windows, advance, kept);
  double most_lost = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (kept[i]) most_lost = std::max(most_lost, comparisons[i].lost_mass);
    results[i].comparison = std::move(comparisons[i]);
  }
  if (most_lost > 0)
    note(fmt::format("{} gives {:.3g} % of its probability to tokens that the smaller vocabulary lacks",
                     reference.path.string(), 100 * most_lost));
  return results;
}

}  // namespace kerf
