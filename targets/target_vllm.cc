// vLLM (and TGI, SGLang, transformers), which load compressed-tensors. Here: weights of 2 to 8 bits, activations in the
// model's dtype ("w4a16"); vllm_w8.cc has those with activations of 8 bits. The weight is code times scale, rounded to
// that dtype; sums are float32. Embedding and head stay as they are. The same bytes computed by transformers with the
// compressed-tensors package are compared with this arithmetic in the tests; vLLM's own kernels need a GPU and are
// known from source. Source: vllm/model_executor/layers/quantization (compressed_tensors, utils/marlin_utils.py);
// compressed_tensors.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "targets/compressed_tensors.h"
#include "targets/target.h"
#include "targets/vllm_w8.h"
#include "targets/weight_only.h"

namespace kerf {
namespace {

std::string scheme_text_vllm(const WeightOnly& w) {
  return fmt::format("w{}a16{}{}", w.bits, w.group_text(), w.asymmetric ? "-asym" : "");
}

class Vllm final : public Target {
 public:
  std::string_view name() const override { return "vllm"; }
  std::string_view runtime() const override { return "vLLM, TGI, SGLang and transformers, by compressed-tensors"; }
  std::string_view repository() const override { return "huggingface"; }

  std::vector<SchemeHelp> schemes() const override {
    std::vector<SchemeHelp> all = {
        {"w4a16-gN",
         "4-bit weights, one scale per N weights of a row; activations 16 bits; default: the "
         "largest N up to 128 that divides all widths"},
        {"w4a16-channel", "4-bit weights, one scale per output channel"},
        {"w8a16-...", "8-bit weights, -gN or -channel"},
        {"wNa16-...", "N = 2, 3, 5, 6, 7: widths that only transformers loads"},
        {"...-asym", "with an integer zero point beside each scale"}};
    all.insert(all.end(), vllm_w8_schemes().begin(), vllm_w8_schemes().end());
    return all;
  }

  std::vector<std::string_view> rules() const override {
    std::vector<std::string_view> all = {
        "the group divides the input width of every linear layer (refused otherwise)",
        "the fast kernel (Marlin) takes 4 bits, and 8 bits without zero points, groups of 32, 64, 128 or a whole "
        "row, outputs divisible by 64 and inputs divisible by 128 on each GPU; a warning where only the slow path "
        "is left",
        "vLLM takes 4 and 8 bits; models of other widths load in transformers alone (a warning)",
        "3, 5, 6 and 7 bits need compressed-tensors newer than 0.16.0, which packs them in another way than before",
        "transformers 5.23 loads zero points only with CompressedTensorsConfig(dequantize=True); vLLM needs nothing",
        "q, k, v and gate, up are fused by the runtime: they share one scheme",
        "embedding, head and norms keep the model's dtype; a float32 model becomes bfloat16 or float16, whichever "
        "loses "
        "less (--dtype)"};
    all.insert(all.end(), vllm_w8_rules().begin(), vllm_w8_rules().end());
    return all;
  }

  std::string canonical(std::string_view scheme) const override {
    if (const auto w8 = canonical_vllm_w8(scheme)) return *w8;
    const auto choice = parse_weight_only(scheme.empty() ? "w4a16" : scheme, "a16");
    if (!choice || choice->bits < 2 || choice->bits > 8 || choice->v2)
      fail(ErrorKind::usage,
           "vllm has no scheme '{}'; choose w2a16 to w8a16 followed by -gN (such as w4a16-g128) or -channel, and -asym "
           "for zero points; or w8a8, fp8, fp8-tensor or fp8-block, which round activations too",
           scheme);
    return scheme_text_vllm(*choice);
  }

  std::string fitted(std::string_view scheme, std::span<const int64_t> widths) const override {
    const auto c = parse_weight_only(scheme, "a16");
    return c ? scheme_text_vllm(c->closed(widths)) : std::string(scheme);
  }

  std::optional<std::string> scheme_holding(const Scheme& s) const override {
    const auto w = weight_only(s);
    if (!w || w->bits < 2 || w->bits > 8) return std::nullopt;
    return scheme_text_vllm(*w);
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype model) const override {
    if (site.place != SitePlace::block) return {.dense = model};
    if (is_vllm_w8(scheme)) return vllm_w8_storage(scheme, site, model);
    const WeightOnly choice = *parse_weight_only(scheme, "a16");
    const Layout& layout = find_layout("ct-pack");
    Storage s{.layout = &layout,
              .scheme = choice.asymmetric ? asymmetric_int(choice.bits, choice.group, model)
                                          : symmetric_int(choice.bits, choice.group, model),
              .decoded = model};
    if (layout.refuses(s.scheme, site.out, site.in))
      fail(ErrorKind::unsupported, "vllm:{} cannot take {} [{}, {}]: the group does not divide its input width; use {}",
           scheme, site.name, site.out, site.in, groups_dividing(site.in, usual_groups()));
    if (choice.bits != 4 && choice.bits != 8)
      s.remark = fmt::format("vLLM takes weights of 4 and 8 bits; {} bits load in transformers alone", choice.bits);
    else if (choice.bits == 8 && choice.asymmetric)
      s.remark = "vLLM's fast kernel has no zero points with 8 bits; only its slow path is left";
    else
      s.remark = marlin_remark(choice, site);
    return s;
  }

  std::span<const Dtype> model_dtypes() const override {
    static constexpr Dtype kTypes[] = {Dtype::bf16, Dtype::f16, Dtype::f32};
    return kTypes;
  }
  int64_t width_multiple(std::string_view scheme) const override {
    const auto c = parse_weight_only(scheme, "a16");  // Marlin wants inputs divisible by 128
    return c ? std::max<int64_t>(c->group, 128) : 128;
  }
  Dtype vector_dtype(Dtype model) const override { return model; }
  Arithmetic arithmetic(Dtype model) const override {
    return {.stream = model, .attention = model, .fused_attention = true};
  }
  Provenance provenance() const override { return Provenance::with_transformers; }
  // vLLM pull request 36799; compressed_tensors/compressors/model_compressors of 0.20.0.
  std::string_view remark_on_zeros(int zeros, int of) const override {
    if (zeros != 2 || of != 4) return "";
    return "the format that made 2:4 smaller and faster, sparse-24-bitmask, is loaded by no vLLM since 0.19.1 and no "
           "compressed-tensors after 0.14.0, so kerf does not write it";
  }
  HubCard card() const override { return {"transformers", "compressed-tensors", "vllm serve {}"}; }
  void configure(nlohmann::ordered_json& config, std::string_view, std::span<const StoredSite> sites) const override {
    config["quantization_config"] = compressed_tensors_config(sites);
  }
};

}  // namespace

const Target& target_vllm() {
  static const Vllm target;
  return target;
}

}  // namespace kerf
