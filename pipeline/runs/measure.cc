#include "pipeline/runs/measure.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "pipeline/repository/repository.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// By its name; files of the hub's cache are links to blobs.
std::string relative_name(const fs::path& file, const fs::path& root) {
  const fs::path below = fs::absolute(root.empty() ? "." : root).lexically_normal();
  return fs::absolute(file).lexically_normal().lexically_relative(below).string();
}

std::vector<FileEntry> describe_files(const Measured& m, const fs::path& root) {
  std::vector<FileEntry> entries(m.files.size());
  parallel_for(static_cast<int64_t>(m.files.size()), [&](int64_t i) {
    const fs::path& f = m.files[static_cast<size_t>(i)];
    const auto known = m.checksums.find(f);
    entries[static_cast<size_t>(i)] = {relative_name(f, root), fs::file_size(f),
                                       known == m.checksums.end() ? sha256_of(f) : known->second};
  });
  return entries;
}

bool has_two_rules(const Artifact& a) {
  const auto weights = a.weights->weights();
  return std::any_of(weights.begin(), weights.end(), [](const StoredWeight& w) { return w.vllm != nullptr; });
}

std::string arithmetic_text(const Measured& m, VerifyMode n) {
  if (n == VerifyMode::float32) return "decoded weights in float32";
  if (!has_two_rules(m.artifact)) return std::string(name_of(m.choice.target->provenance()));
  if (n == VerifyMode::vllm) return fmt::format("vLLM's rounding of activations, {}", name_of(Provenance::from_source));
  return fmt::format("the compressed-tensors package's rounding of activations, {}", name_of(Provenance::measured));
}

}  // namespace

std::vector<TargetResult> measure(const Artifact& reference, std::span<const Measured> measured,
                                  const std::optional<Windows>& windows, VerifyMode numerics,
                                  const std::string& gate_text, const fs::path& root,
                                  const std::optional<MeasuredBeside>& beside, const std::optional<Windows>& second) {
  std::vector<TargetResult> results;
  std::vector<VerifySide> sides;
  for (const Measured& m : measured) {
    sides.push_back({&m.artifact, numerics});
    results.push_back({.target = std::string(m.choice.target->name()),
                       .scheme = m.choice.scheme,
                       .arithmetic = arithmetic_text(m, numerics),
                       .runtime = runtime_of(m.artifact, numerics),
                       .files = describe_files(m, root),
                       .bytes = m.artifact.bytes,
                       .bpw = m.artifact.bits_per_weight()});
  }
  if (windows) {
    // Where vLLM is known to round activations by another rule than what is measured, its figures come second.
    std::vector<size_t> twice;
    for (size_t i = 0; i < measured.size(); ++i)
      if (numerics == VerifyMode::runtime && has_two_rules(measured[i].artifact)) twice.push_back(i);
    for (const size_t i : twice) sides.push_back({&measured[i].artifact, VerifyMode::vllm});
    std::vector<size_t> adapted;  // are measured without their adapters too
    for (size_t i = 0; i < measured.size(); ++i)
      if (measured[i].artifact.adapter) adapted.push_back(i);
    for (const size_t i : adapted)
      sides.push_back({.artifact = &measured[i].artifact, .numerics = numerics, .adapted = false});
    if (beside) sides.push_back({beside->model, VerifyMode::float32});
    std::vector<Verification> verifications = verify(reference, sides, *windows);
    if (beside) *beside->result = std::move(verifications.back());
    for (size_t i = 0; i < results.size(); ++i) results[i].verification = std::move(verifications[i]);
    for (size_t i = 0; i < twice.size(); ++i)
      results[twice[i]].alternative = {arithmetic_text(measured[twice[i]], VerifyMode::vllm),
                                       std::move(verifications[results.size() + i])};
    for (size_t i = 0; i < adapted.size(); ++i)
      results[adapted[i]].unadapted = std::move(verifications[results.size() + twice.size() + i]);
  }
  if (second) {
    std::vector<VerifySide> alone(sides.begin(), sides.begin() + std::ssize(measured));
    std::vector<Verification> verifications = verify(reference, alone, *second);
    for (size_t i = 0; i < results.size(); ++i) results[i].second = std::move(verifications[i]);
  }
  const Gate gate = parse_gate(gate_text);
  for (TargetResult& r : results) r.gate = check_gate(gate, figures(measurement_of(r)));
  return results;
}

TargetChoice target_of(const Artifact& a) {
  if (a.target.empty())
    fail(ErrorKind::unsupported,
         "{} is a full-precision checkpoint; `kerf eval` measures it, `kerf verify` measures packed models",
         a.path.string());
  std::map<std::string, int64_t> weights_in;  // by scheme
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer)) {
      const std::string& scheme = a.weights->weight(site.name)->scheme;
      if (!scheme.empty()) weights_in[scheme] += site.out * site.in;
    }
  if (weights_in.empty())
    fail(ErrorKind::bad_input, "{} says it is {}, and none of its matrices is", a.path.string(), a.format);
  const Target& target = find_target(a.target);
  if (const auto says = repository_of(target).scheme_said)
    if (const auto scheme = says(a)) return {&target, *scheme};
  const auto most = std::max_element(weights_in.begin(), weights_in.end(),
                                     [](const auto& x, const auto& y) { return x.second < y.second; });
  return {&target, most->first};
}

}  // namespace kerf
