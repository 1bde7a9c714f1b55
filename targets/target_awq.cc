// AWQ files, "gemm": 4-bit weights with zero points and scales in F16, loaded by vLLM, SGLang, TGI and by transformers
// with gptqmodel. Weights are dequantized to (code - zero) * scale in F16 and multiplied in the model's dtype, sums in
// float32. Source: AutoAWQ, awq/models/_config.py; transformers, quantizers/quantizer_awq.py; gptqmodel,
// nn_modules/qlinear.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "targets/half_model.h"
#include "targets/target.h"
#include "targets/weight_only.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;

constexpr int64_t kGroups[] = {16, 32, 64, 128};

// "-sym" ends a scheme here, zero points are the rule.
std::optional<WeightOnly> parse(std::string_view scheme) {
  const bool symmetric = scheme.ends_with("-sym") || scheme.ends_with("-SYM");
  if (symmetric) scheme.remove_suffix(4);
  auto c = parse_weight_only(scheme, "");
  if (!c || c->bits != 4 || c->v2 || (symmetric && c->asymmetric)) return std::nullopt;
  c->asymmetric = !symmetric;
  return c;
}

std::string scheme_text_awq(const WeightOnly& w) {
  return fmt::format("w4{}{}", w.group_text(), w.asymmetric ? "" : "-sym");
}

class Awq final : public Target {
 public:
  std::string_view name() const override { return "awq"; }
  std::string_view runtime() const override { return "vLLM, SGLang, TGI, and transformers with gptqmodel"; }
  std::string_view repository() const override { return "huggingface"; }

  std::vector<SchemeHelp> schemes() const override {
    return {{"w4-gN",
             "4-bit weights, a scale in F16 and a zero point per N weights of a row; default: the "
             "largest N up to 128 that divides all widths"},
            {"w4-channel", "one scale and zero point per output channel"},
            {"...-sym", "the zero point 8 everywhere"}};
  }

  std::vector<std::string_view> rules() const override {
    return {
        "groups of 16, 32, 64, 128 or a whole row, which divide the input width of every linear layer, and outputs "
        "divisible by 8 (refused otherwise)",
        "all matrices have one group; others stay in the model's dtype",
        "vLLM's fast kernel (Marlin) takes groups of 32, 64, 128 or a whole row, outputs divisible by 64 and inputs "
        "divisible by 128 on each GPU; a warning where only the slow path is left",
        "embedding, head and norms keep the model's dtype; a float32 model becomes bfloat16 or float16, whichever "
        "loses "
        "less (--dtype)"};
  }

  std::string canonical(std::string_view scheme) const override {
    const auto c = parse(scheme.empty() ? "w4" : scheme);
    if (!c)
      fail(ErrorKind::usage,
           "awq has no scheme '{}'; choose w4 followed by -gN (such as w4-g128) or -channel, and -sym for the zero "
           "point "
           "8 everywhere",
           scheme);
    return scheme_text_awq(*c);
  }

  std::string fitted(std::string_view scheme, std::span<const int64_t> widths) const override {
    return scheme_text_awq(parse(scheme)->closed(widths));
  }

  std::optional<std::string> scheme_holding(const Scheme& s) const override {
    const auto w = weight_only(s);
    if (!w || w->bits != 4) return std::nullopt;
    return scheme_text_awq(*w);
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype model) const override {
    if (site.place != SitePlace::block) return {.dense = half_type(model)};
    const WeightOnly c = *parse(scheme);
    const Layout& layout = find_layout("awq");
    Storage s{.layout = &layout,
              .scheme = c.asymmetric ? asymmetric_int(4, c.group, Dtype::f16) : symmetric_int(4, c.group, Dtype::f16),
              .decoded = Dtype::f16};
    const bool known = c.group == 0 || std::find(std::begin(kGroups), std::end(kGroups), c.group) != std::end(kGroups);
    if (!known || (c.group != 0 && site.in % c.group != 0))
      fail(ErrorKind::unsupported, "awq:{} cannot take {} [{}, {}]: AWQ knows no groups of {} there; use {}", scheme,
           site.name, site.out, site.in, c.group, groups_dividing(site.in, kGroups));
    if (const auto rule = layout.refuses(s.scheme, site.out, site.in))
      fail(ErrorKind::unsupported, "awq:{} cannot take {} [{}, {}]: {}", scheme, site.name, site.out, site.in, *rule);
    s.remark = marlin_remark(c, site);
    return s;
  }

  std::span<const Dtype> model_dtypes() const override { return half_types(); }
  int64_t width_multiple(std::string_view scheme) const override {
    return std::max<int64_t>(parse_weight_only(scheme, "")->group, 128);
  }
  Dtype vector_dtype(Dtype model) const override { return half_type(model); }
  Arithmetic arithmetic(Dtype model) const override { return half_arithmetic(model); }
  Provenance provenance() const override { return Provenance::with_transformers; }
  HubCard card() const override { return {"transformers", "awq", "vllm serve {}"}; }

  void configure(ordered_json& config, std::string_view, std::span<const StoredSite> sites) const override {
    set_half_type(config);
    std::optional<int64_t> group;
    ordered_json dense = ordered_json::array();
    for (const StoredSite& site : sites) {
      if (!site.storage.layout) {
        if (site.shape.place != SitePlace::embedding) dense.push_back(site.module());
        continue;
      }
      const int64_t own = site.storage.scheme.levels[0].block.cols;
      if (group && *group != own)
        fail(ErrorKind::unsupported, "AWQ has one group for all matrices, and {} has {} where others have {}",
             site.shape.name, own, *group);
      group = own;
    }
    if (!group) fail(ErrorKind::internal, "nothing is packed, so there is nothing to describe");
    config["quantization_config"] = {{"quant_method", "awq"},
                                     {"bits", 4},
                                     {"group_size", *group == 0 ? -1 : *group},
                                     {"zero_point", true},
                                     {"version", "gemm"},
                                     {"modules_to_not_convert", dense.empty() ? ordered_json(nullptr) : dense}};
  }
};

}  // namespace

const Target& target_awq() {
  static const Awq target;
  return target;
}

}  // namespace kerf
