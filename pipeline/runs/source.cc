#include "pipeline/runs/source.h"

#include <algorithm>
#include <map>
#include <regex>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace {

// The type in codes that most weights have.
std::string usual_type(const Artifact& a) {
  std::map<std::string, int64_t> weights_in;
  for (const StoredWeight& w : a.weights->weights())
    if (is_quantized(w)) weights_in[w.type] += w.info.elements();
  return std::max_element(weights_in.begin(), weights_in.end(),
                          [](const auto& x, const auto& y) { return x.second < y.second; })
      ->first;
}

bool is_exact_in(Dtype type, const StoredWeight& w) {
  if (w.info.dtype == type) return true;
  if (w.info.shape.size() != 1) return false;
  std::vector<float> values(static_cast<size_t>(w.info.elements())), rounded;
  to_f32(w.info.dtype, w.bytes, values);
  rounded = values;
  round_to(type, rounded);
  return values == rounded;
}

// Of a GGUF without codes.
Dtype exact_dtype(const StoredWeights& all) {
  const auto weights = all.weights();
  for (const Dtype type : {Dtype::f16, Dtype::bf16})
    if (std::all_of(weights.begin(), weights.end(), [&](const StoredWeight& w) { return is_exact_in(type, w); }))
      return type;
  return Dtype::f32;
}

}  // namespace

Source open_source(const std::filesystem::path& path, bool requantize) {
  Source s{open_artifact(path), {}};
  Artifact& a = s.model;
  if (!a.is_quantized()) {
    if (a.format == kGgufFormat) a.architecture.dtype = exact_dtype(*a.weights);
    return s;
  }
  const std::string what = fmt::format("{} ({}, mostly {})", path.string(), a.format, usual_type(a));
  if (!requantize)
    fail(
        ErrorKind::unsupported,
        "{} is already quantized; give the full-precision checkpoint it was made from, or --requantize to take its own "
        "numbers for the reference (what its quantization has cost is then in no figure); `kerf repack` writes the "
        "same numbers in another layout",
        what);
  if (a.format == kGgufFormat) a.architecture.dtype = Dtype::f32;
  s.remarks.push_back(fmt::format(
      "the source was quantized already ({}, mostly {}): the reference is what its bytes decode to, and what "
      "its own quantization has cost is in no figure",
      a.format, usual_type(a)));
  warn(fmt::format("{}: {}", path.string(), s.remarks.back()));
  return s;
}

std::string name_without_type(const std::string& name) {
  static const std::regex type("[-._](f16|bf16|f32|fp16|fp32)(-pure)?$", std::regex::icase);
  const std::string bare = std::regex_replace(name, type, "");
  return bare.empty() ? name : bare;
}

}  // namespace kerf
