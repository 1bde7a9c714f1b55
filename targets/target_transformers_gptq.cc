// transformers with gptqmodel, GPTQModel itself, vLLM and others, which load GPTQ: integer weights with scales in F16,
// the rest of the model in half precision. Weights are dequantized to (code - zero) * scale in F16 and multiplied in
// the model's dtype, sums in float32. Source: transformers, quantizers/quantizer_gptq.py; optimum, gptq/quantizer.py;
// gptqmodel, nn_modules/qlinear/torch.py.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "targets/half_model.h"
#include "targets/target.h"
#include "targets/weight_only.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;

// What one matrix is, as quantization_config spells it.
struct Kind {
  int bits;
  int64_t group;
  bool symmetric;
  bool operator==(const Kind&) const = default;
};

Kind kind_of(const Storage& s) {
  const int64_t group = s.scheme.levels[0].block.cols;
  return {s.scheme.bits, group == 0 ? -1 : group, s.scheme.levels.size() == 1};
}

// The kind that most matrices have.
Kind usual_kind(std::span<const StoredSite> sites) {
  std::vector<std::pair<Kind, int>> counts;
  for (const StoredSite& site : sites) {
    if (!site.storage.layout) continue;
    const Kind kind = kind_of(site.storage);
    auto at = std::find_if(counts.begin(), counts.end(), [&](const auto& c) { return c.first == kind; });
    if (at == counts.end()) at = counts.insert(at, {kind, 0});
    ++at->second;
  }
  if (counts.empty()) fail(ErrorKind::internal, "nothing is packed, so there is nothing to describe");
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// A module's name as a regular expression that matches it alone.
std::string pattern(const char* sign, const std::string& module) {
  std::string text = std::string(sign) + ":^";
  for (const char c : module) text += c == '.' ? std::string("\\.") : std::string(1, c);
  return text + "$";
}

bool in_block(const StoredSite& site) { return site.shape.place == SitePlace::block; }

std::string scheme_text_gptq(const WeightOnly& w) {
  return fmt::format("w{}{}{}{}", w.bits, w.group_text(), w.asymmetric ? "-asym" : "", w.v2 ? "-v2" : "");
}

class TransformersGptq final : public Target {
 public:
  std::string_view name() const override { return "transformers-gptq"; }
  std::string_view runtime() const override { return "transformers with gptqmodel, GPTQModel, vLLM, SGLang and TGI"; }
  std::string_view repository() const override { return "huggingface"; }

  std::vector<SchemeHelp> schemes() const override {
    return {{"w4-gN",
             "4-bit weights, one scale in F16 per N weights of a row; default: the largest N up to "
             "128 that divides all widths"},
            {"w4-channel", "4-bit weights, one scale per output channel"},
            {"w{2,3,8}-...", "2, 3 or 8 bits, -gN or -channel"},
            {"...-asym", "with an integer zero point beside each scale"},
            {"...-v2", "checkpoint_format gptq_v2, which GPTQModel and new vLLM read"}};
  }

  std::vector<std::string_view> rules() const override {
    return {
        "gptqmodel takes groups of 16, 32, 64, 128, 256, 512, 1024 or a whole row; a group divides the input width "
        "of every linear layer (refused otherwise)",
        "inputs and outputs divisible by 16, 32, 8, 4 with 2, 3, 4, 8 bits (refused otherwise)",
        "v1 stores zero points minus one: asymmetric matrices keep away from the zero point 0",
        "vLLM's fast kernel (Marlin) takes symmetric 4 and 8 bits in groups of 32, 64, 128 or a whole row, outputs "
        "divisible by 64 and inputs divisible by 128 on each GPU",
        "embedding, head and norms keep the model's dtype; a float32 model becomes bfloat16 or float16, whichever "
        "loses "
        "less (--dtype)"};
  }

  std::string canonical(std::string_view scheme) const override {
    const auto c = parse_weight_only(scheme.empty() ? "w4" : scheme, "");
    if (!c || (c->bits != 2 && c->bits != 3 && c->bits != 4 && c->bits != 8))
      fail(ErrorKind::usage,
           "transformers-gptq has no scheme '{}'; choose w2, w3, w4 or w8 followed by -gN (such as w4-g128) or "
           "-channel, then -asym for zero points and -v2 for the second version",
           scheme);
    return scheme_text_gptq(*c);
  }

  std::string fitted(std::string_view scheme, std::span<const int64_t> widths) const override {
    return scheme_text_gptq(parse_weight_only(scheme, "")->closed(widths));
  }

  std::optional<std::string> scheme_holding(const Scheme& s) const override {
    const auto w = weight_only(s);
    if (!w || (w->bits != 2 && w->bits != 3 && w->bits != 4 && w->bits != 8)) return std::nullopt;
    return scheme_text_gptq(*w);
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype model) const override {
    if (site.place != SitePlace::block) return {.dense = half_type(model)};
    const WeightOnly c = *parse_weight_only(scheme, "");
    const Layout& layout = find_layout(c.v2 ? "gptq-v2" : "gptq-v1");
    Storage s{.layout = &layout,
              .scheme = c.asymmetric ? asymmetric_int(c.bits, c.group, Dtype::f16, c.v2 ? 0 : 1)
                                     : symmetric_int(c.bits, c.group, Dtype::f16),
              .decoded = Dtype::f16};
    const auto groups = usual_groups();
    if (c.group != 0 && (site.in % c.group != 0 || std::find(groups.begin(), groups.end(), c.group) == groups.end()))
      fail(ErrorKind::unsupported,
           "transformers-gptq:{} cannot take {} [{}, {}]: gptqmodel knows no groups of {} there; use {}", scheme,
           site.name, site.out, site.in, c.group, groups_dividing(site.in, groups));
    if (const auto rule = layout.refuses(s.scheme, site.out, site.in))
      fail(ErrorKind::unsupported, "transformers-gptq:{} cannot take {} [{}, {}]: {}", scheme, site.name, site.out,
           site.in, *rule);
    if (c.asymmetric && !c.v2)
      s.remark =
          "GPTQModel's own loader takes zero points in version 1 only from files that it made (transformers and vLLM "
          "take "
          "these); version 2, -v2, loads there";
    return s;
  }

  // configure() writes what differs to "dynamic".
  std::string remark_on(std::span<const StoredSite> sites) const override {
    std::optional<Kind> one;
    for (const StoredSite& site : sites) {
      if (!in_block(site) || !site.storage.layout) continue;
      if (!one) one = kind_of(site.storage);
      if (kind_of(site.storage) != *one)
        return "GPTQModel and vLLM load matrices of more than one kind; transformers does not, nor does anything that "
               "reads no \"dynamic\" in the configuration";
    }
    return "";
  }

  std::span<const Dtype> model_dtypes() const override { return half_types(); }
  int64_t width_multiple(std::string_view scheme) const override {
    return std::max<int64_t>(parse_weight_only(scheme, "")->group, 128);
  }
  Dtype vector_dtype(Dtype model) const override { return half_type(model); }
  Arithmetic arithmetic(Dtype model) const override { return half_arithmetic(model); }
  Provenance provenance() const override { return Provenance::with_transformers; }
  HubCard card() const override { return {"transformers", "gptq", "vllm serve {}"}; }

  void configure(ordered_json& config, std::string_view scheme, std::span<const StoredSite> sites) const override {
    set_half_type(config);
    const Kind usual = usual_kind(sites);
    const char* format = parse_weight_only(scheme, "")->v2 ? "gptq_v2" : "gptq";
    ordered_json dynamic = ordered_json::object(), modules = ordered_json::array();
    bool all = true;
    for (const StoredSite& site : sites) {
      if (!in_block(site)) continue;
      if (!site.storage.layout) {
        all = false;
        dynamic[pattern("-", site.module())] = ordered_json::object();
        continue;
      }
      modules.push_back(site.module());
      const Kind kind = kind_of(site.storage);
      if (kind != usual)
        dynamic[pattern("+", site.module())] = {
            {"bits", kind.bits}, {"group_size", kind.group}, {"sym", kind.symmetric}};
    }
    // Newer readers take "method" and "format", older ones the other two.
    ordered_json q = {{"quant_method", "gptq"},
                      {"method", "gptq"},
                      {"checkpoint_format", format},
                      {"format", format},
                      {"bits", usual.bits},
                      {"group_size", usual.group},
                      {"sym", usual.symmetric},
                      {"desc_act", false},
                      {"lm_head", false},
                      {"pack_dtype", "int32"},
                      {"meta", {{"quantizer", {fmt::format("kerf:{}", version())}}}}};
    if (!dynamic.empty()) q["dynamic"] = std::move(dynamic);
    // transformers does not look at "dynamic" and replaces what this lists, by the ends of names.
    if (!all) q["modules_in_block_to_quantize"] = ordered_json::array({std::move(modules)});
    config["quantization_config"] = std::move(q);
  }

  std::vector<CompanionFile> companions(const ordered_json& config) const override {
    return {{"quantize_config.json", config["quantization_config"].dump(2) + "\n"}};
  }
};

}  // namespace

const Target& target_transformers_gptq() {
  static const TransformersGptq target;
  return target;
}

}  // namespace kerf
