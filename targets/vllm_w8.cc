// Sources: vllm/model_executor/layers/quantization (compressed_tensors/schemes/compressed_tensors_w8a8_*.py,
// utils/fp8_utils.py, utils/w8a8_utils.py), vllm/_custom_ops.py (cutlass_scaled_mm).
#include "targets/vllm_w8.h"

#include <algorithm>

#include "core/error.h"
#include "targets/weight_only.h"

namespace kerf {
namespace {

constexpr int64_t kBlock = 128;

constexpr SchemeHelp kSchemes[] = {
    {"w8a8", "8-bit integers, one scale per output channel; activations rounded to 8-bit integers per token"},
    {"fp8", "8-bit floats (e4m3), one scale per output channel; activations rounded to e4m3 per token"},
    {"fp8-tensor", "the same with one scale per matrix, shared by matrices that the runtime fuses"},
    {"fp8-block", "the same with one scale per 128 x 128 weights and per 128 activations"}};

constexpr std::string_view kRules[] = {
    "8-bit activations: fp8 needs compute capability 8.9 (older GPUs run fp8 files with 16-bit activations); the fast "
    "kernels take widths divisible by 16, a warning where only the slow path is left",
    "fp8-tensor: vLLM has one scale for q, k, v and one for gate, up, and rounds again what has another; kerf gives "
    "them "
    "the same",
    "fp8-block: inputs divide into 128, and so do the outputs of q, k and gate (refused otherwise)"};

Scheme scheme_of(std::string_view name, Dtype scale) {
  if (name == "w8a8") return symmetric_int(8, 0, scale);
  if (name == "fp8-tensor") return fp8({0, 0}, scale);
  if (name == "fp8-block") return fp8({kBlock, kBlock}, scale);
  return fp8({1, 0}, scale);
}

}  // namespace

std::span<const SchemeHelp> vllm_w8_schemes() { return kSchemes; }
std::span<const std::string_view> vllm_w8_rules() { return kRules; }

bool is_vllm_w8(std::string_view scheme) {
  return std::any_of(std::begin(kSchemes), std::end(kSchemes), [&](const SchemeHelp& s) { return s.name == scheme; });
}

std::optional<std::string> canonical_vllm_w8(std::string_view scheme) {
  const std::string plain = plain_scheme(scheme);
  return is_vllm_w8(plain) ? std::optional(plain) : std::nullopt;
}

Storage vllm_w8_storage(std::string_view scheme, const SiteShape& site, Dtype model) {
  // vLLM stacks q, k, v and gate, up: all but the last of a stack end where a block ends.
  if (scheme == "fp8-block" && (site.in % kBlock != 0 || (site.followed_in_fused && site.out % kBlock != 0)))
    fail(ErrorKind::unsupported,
         "vllm:fp8-block cannot take {} [{}, {}]: {} must divide into blocks of {}; use fp8, which has one scale per "
         "channel",
         site.name, site.out, site.in, site.in % kBlock != 0 ? "its input width" : "the outputs of a fused matrix",
         kBlock);
  Storage s{.layout = &find_layout(scheme == "w8a8" ? "ct-int" : "ct-float"),
            .scheme = scheme_of(scheme, model),
            .decoded = model,
            .fused_scale = scheme == "fp8-tensor"};
  if (scheme == "w8a8") s.activations = RoundedActivations{.group = 0};
  if (site.out % 16 != 0 || site.in % 16 != 0)
    s.remark = fmt::format("{} [{}, {}]: vLLM's fast kernels want widths divisible by 16; only its slow path is left",
                           site.name, site.out, site.in);
  return s;
}

}  // namespace kerf
