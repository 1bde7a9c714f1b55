#include "verify/verify.h"

#include <cmath>
#include <memory>
#include <optional>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace {

void check_same_model(const Artifact& reference, const Artifact& packed) {
  const auto differ = [&](const char* what, int64_t a, int64_t b) {
    if (a != b)
      fail(ErrorKind::bad_input, "{} is not a compressed {}: its {} is {}, not {}", packed.path.string(),
           reference.path.string(), what, b, a);
  };
  const Architecture &r = reference.architecture, &p = packed.architecture;
  differ("number of layers", r.layers(), p.layers());
  differ("hidden size", r.hidden(), p.hidden());
  differ("vocabulary", r.vocab(), p.vocab());
}

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
  Arithmetic arithmetic;
  std::unique_ptr<WeightProvider> weights;
  std::optional<BlockwiseForward> stream;
};

Run start(const Artifact& a, VerifyMode numerics, const Windows& windows) {
  Run run{&a, arithmetic_of(a, numerics), weights_of(a, numerics), {}};
  run.stream.emplace(a.architecture, *run.weights, run.arithmetic, windows);
  return run;
}

}  // namespace

std::vector<Verification> verify(const Artifact& reference, std::span<const VerifySide> packed,
                                 const Windows& windows) {
  for (const VerifySide& p : packed) check_same_model(reference, *p.artifact);
  Run original = start(reference, VerifyMode::float32, windows);
  std::vector<Run> runs;
  for (const VerifySide& p : packed) runs.push_back(start(*p.artifact, p.numerics, windows));
  std::vector<Verification> results(packed.size());

  const int64_t layers = reference.architecture.layers();
  {
    Progress progress("verifying block", layers);
    for (int64_t layer = 0; layer < layers; ++layer) {
      original.stream->run_block(layer, [&](const Site& site, const float* x, int64_t tokens, const float* y) {
        // Only the first batch of each site: batches come in order, so a site that was seen begins the second.
        for (size_t i = 0; i < runs.size(); ++i) {
          auto& sites = results[i].sites;
          bool seen = false;
          for (const SiteError& s : sites) seen |= s.name == site.name;
          if (seen) continue;
          const Squares s = site_squares(*runs[i].weights, runs[i].arithmetic, site, x, tokens, y);
          sites.push_back({site.name, runs[i].artifact->weights->weight(site.name)->type,
                           s.reference > 0 ? std::sqrt(s.difference / s.reference) : 0.0});
        }
      });
      for (Run& run : runs) run.stream->run_block(layer);
      progress.advance();
    }
  }
  original.stream->finish();
  const Logits reference_logits(reference.architecture, *original.weights, *original.stream);
  std::vector<std::unique_ptr<Logits>> logits;
  std::vector<const Logits*> views;
  for (Run& run : runs) {
    run.stream->finish();
    logits.push_back(std::make_unique<Logits>(run.artifact->architecture, *run.weights, *run.stream));
    views.push_back(logits.back().get());
  }
  std::optional<Progress> progress;
  std::vector<Comparison> comparisons = compare(reference_logits, views, windows, [&](int64_t, int64_t parts) {
    if (!progress) progress.emplace("comparing logits", parts);
    progress->advance();
  });
  for (size_t i = 0; i < results.size(); ++i) results[i].comparison = std::move(comparisons[i]);
  return results;
}

}  // namespace kerf
