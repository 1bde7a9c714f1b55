// llama.cpp (and Ollama) on a CPU: one GGUF file. Activations are rounded, row by row, to the type that the weight's
// type asks for (Q8_0 blocks for Q4_0 and Q8_0, the type itself for F16 and BF16); everything between products is
// float32; attention is flash attention with keys and values in F16 by default. Sums take its order (SumOrder::ggml).
// Source: ggml/src/ggml-cpu (type traits, vec_dot), src/llama-quant.cpp (which tensor gets which type).
#include "core/error.h"
#include "core/nearest.h"
#include "formats/ggml_type.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {

struct CacheName {
  std::string_view name;
  KvCache cache;
};
constexpr CacheName kCaches[] = {
    {"f16", KvCache::f16}, {"f32", KvCache::f32}, {"q8_0", KvCache::q8_0}, {"q4_0", KvCache::q4_0}};

class LlamaCppCpu final : public Target {
 public:
  std::string_view name() const override { return "llama.cpp-cpu"; }
  std::string_view runtime() const override { return "llama.cpp and Ollama on a CPU"; }
  std::string_view repository() const override { return "gguf"; }
  TensorNames names() const override { return TensorNames::gguf; }

  std::vector<SchemeHelp> schemes() const override {
    std::vector<SchemeHelp> all;
    for (const GgufMixture& m : gguf_mixtures()) all.push_back({m.name, m.text});
    all.push_back({"TYPE-pure", "every matrix in one type, as Q4_K-pure"});
    return all;
  }

  std::vector<std::string_view> rules() const override {
    return {
        "a scheme gives each matrix the type that llama-quantize gives it; head, or the embedding that is also the "
        "head, mostly Q6_K",
        "the scheme of an override is a type (attn_v: Q6_K) or a mixture; `mixed` is what overrides of all matrices "
        "are "
        "called, such as those that --bytes chooses",
        "rows that do not divide into a type's blocks are stored in a type with smaller blocks, or F16, as "
        "llama-quantize does, with a warning (refused with --strict)",
        "norms and biases stay F32"};
  }

  std::string canonical(std::string_view scheme) const override {
    return known(scheme.empty() ? "Q4_0" : canonical_gguf_scheme(scheme), scheme);
  }
  std::string canonical_of_matrix(std::string_view scheme) const override {
    return known(canonical_gguf_scheme_of_matrix(scheme), scheme);
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype) const override {
    if (scheme == kMixedScheme)
      fail(
          ErrorKind::usage,
          "llama.cpp-cpu:{} gives every matrix a type by an override, and {} has none; add one, or name another scheme",
          scheme, site.name);
    const std::string_view wanted = wanted_gguf_type(scheme, site);
    const std::string_view type = fitting_gguf_type(wanted, site.in);
    if (type.empty())
      fail(
          ErrorKind::unsupported,
          "{}: rows of {} weights do not divide into the blocks of {} of {}, and no other type takes its place; choose "
          "another scheme for this matrix",
          site.name, site.in, find_ggml_type(wanted)->block, wanted);
    Storage s = stored_as(type, scheme, site);
    if (type != wanted)
      s.remark = fmt::format("rows of {} weights do not divide into the blocks of {} of {}: stored as {}", site.in,
                             find_ggml_type(wanted)->block, wanted, type);
    return s;
  }

  int64_t width_multiple(std::string_view scheme) const override {
    if (scheme == kMixedScheme) return 256;
    const std::string_view type = wanted_gguf_type(
        scheme, {.role = "ffn_gate", .gguf = "blk.0.ffn_gate.weight", .layer = 0, .model = {.layers = 1}});
    return std::max<int64_t>(find_ggml_type(type)->block, 32);
  }
  Dtype vector_dtype(Dtype) const override { return Dtype::f32; }
  Arithmetic arithmetic(Dtype) const override { return {.stream = Dtype::f32, .order = SumOrder::ggml}; }
  Arithmetic arithmetic_with(const RuntimeSettings& s, const Architecture& a) const override {
    Arithmetic numbers = arithmetic(a.dtype);
    GgmlAttention& attention = numbers.ggml_attention;
    attention.flash = s.flash_attention.value_or(attention.flash);
    if (!s.kv_cache.empty()) attention.cache = cache_called(s.kv_cache);
    if (!attention.flash && is_quantized(attention.cache))
      fail(ErrorKind::usage,
           "llama.cpp has no key/value cache in {} without flash attention; take --flash-attention on, or --kv-cache "
           "f16",
           s.kv_cache);
    if (!attention.flash && attention.cache != KvCache::f16)
      fail(ErrorKind::unsupported,
           "kerf cannot compute a key/value cache in {} without flash attention; take --flash-attention on, or "
           "--kv-cache f16",
           s.kv_cache);
    if (!is_quantized(attention.cache)) return numbers;
    for (int64_t layer = 0; layer < a.layers(); ++layer)
      for (const Op& op : a.block(layer))
        if (const int64_t head = op.as<Attend>() ? a.axis(op.axis).group_size() : 0;
            head % find_ggml_type("Q8_0")->block != 0)
          fail(ErrorKind::unsupported,
               "llama.cpp has no key/value cache in {} for this model: its blocks of 32 do not divide heads of {}; "
               "take --kv-cache f16 or f32",
               s.kv_cache, head);
    return numbers;
  }
  RuntimeSettings settings_of(const Arithmetic& a) const override {
    for (const CacheName& c : kCaches)
      if (c.cache == a.ggml_attention.cache)
        return {.flash_attention = a.ggml_attention.flash, .kv_cache = std::string(c.name)};
    fail(ErrorKind::internal, "a key/value cache without a name");
  }
  Provenance provenance() const override { return Provenance::measured; }
  HubCard card() const override { return {"gguf", "gguf", "llama-cli -m {}"}; }

 private:
  static KvCache cache_called(std::string_view name) {
    std::string names;
    for (const CacheName& c : kCaches) {
      if (c.name == name) return c.cache;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", c.name);
    }
    fail(ErrorKind::usage, "there is no key/value cache '{}' in kerf; --kv-cache takes one of: {}", name, names);
  }

  static std::string known(std::string canonical, std::string_view given) {
    if (!canonical.empty()) return canonical;
    std::string names;
    std::vector<std::string_view> all;
    for (const GgufMixture& m : gguf_mixtures()) {
      names += fmt::format("{}, ", m.name);
      all.push_back(m.name);
    }
    const std::string_view near = nearest(given, all);
    fail(ErrorKind::usage, "llama.cpp-cpu has no scheme '{}'{}; choose one of: {}or TYPE-pure", given,
         near.empty() ? "" : fmt::format(" (did you mean {}?)", near), names);
  }

  static Storage stored_as(std::string_view type, std::string_view scheme, const SiteShape& site) {
    for (const Dtype dense : {Dtype::f16, Dtype::bf16, Dtype::f32})
      if (name_of(dense) == type) return {.dense = dense};
    const Layout* layout = gguf_layout(type);
    if (!layout)
      fail(ErrorKind::unsupported, "{}: {} stores it as {}, which kerf does not write; choose another scheme",
           site.name, scheme, type);
    // Q8_0 and Q8_1 blocks of 32, or Q8_K blocks of 256.
    const int64_t group = find_ggml_type(type)->block == 256 ? 256 : 32;
    return {.layout = layout, .scheme = layout->examples().front(), .activations = RoundedActivations{.group = group}};
  }
};

}  // namespace

const Target& target_llama_cpp_cpu() {
  static const LlamaCppCpu target;
  return target;
}

}  // namespace kerf
