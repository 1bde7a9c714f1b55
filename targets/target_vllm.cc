// vLLM (and TGI, SGLang, transformers), which load compressed-tensors: weights of 4 or 8 bits, activations in the
// model's dtype ("w4a16"). The weight is code times scale, rounded to that dtype; sums are float32. Embedding and head
// stay as they are. The same bytes computed by transformers with the compressed-tensors package are compared with this
// arithmetic in the tests; vLLM's own kernels need a GPU and are known from source.
// Source: vllm/model_executor/layers/quantization (compressed_tensors, utils/marlin_utils.py); compressed_tensors.
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "targets/compressed_tensors.h"
#include "targets/target.h"

namespace kerf {
namespace {

// What "w4a16-g128" says; group 0 is one scale per output channel.
struct Choice {
  int bits;
  int64_t group;
};

std::optional<Choice> parse(std::string_view s) {
  Choice c{4, 128};
  if (s.starts_with("w4a16"))
    c.bits = 4;
  else if (s.starts_with("w8a16"))
    c.bits = 8;
  else
    return std::nullopt;
  s.remove_prefix(5);
  if (s.empty()) return c;
  if (s == "-channel") return Choice{c.bits, 0};
  if (!s.starts_with("-g")) return std::nullopt;
  s.remove_prefix(2);
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), c.group);
  if (error != std::errc() || end != s.data() + s.size() || c.group < 1 || c.group > 1 << 20) return std::nullopt;
  return c;
}

std::string group_text(const Choice& c) { return c.group == 0 ? "channel" : fmt::format("g{}", c.group); }

// Divisors of n that are powers of two from 16 to 1024: the groups people use.
std::string usable_groups(int64_t n) {
  std::string text;
  for (int64_t g = 16; g <= 1024 && g <= n; g *= 2)
    if (n % g == 0) text += fmt::format("{}g{}", text.empty() ? "" : ", ", g);
  return text.empty() ? "channel" : text + " or channel";
}

class Vllm final : public Target {
 public:
  std::string_view name() const override { return "vllm"; }
  std::string_view runtime() const override { return "vLLM, TGI, SGLang and transformers, by compressed-tensors"; }
  std::string_view container() const override { return "safetensors"; }

  std::vector<SchemeHelp> schemes() const override {
    return {{"w4a16-gN", "4-bit weights, one scale per N weights of a row (default g128); activations 16 bits"},
            {"w4a16-channel", "4-bit weights, one scale per output channel"},
            {"w8a16-gN", "8-bit weights, one scale per N weights of a row"},
            {"w8a16-channel", "8-bit weights, one scale per output channel"}};
  }

  std::vector<std::string_view> rules() const override {
    return {"the group divides the input width of every linear layer (refused otherwise)",
            "the fast kernel (Marlin) takes groups of 32, 64, 128 or a whole row, outputs divisible by 64 and inputs "
            "divisible by 128 on each GPU; a warning where only the slow path is left",
            "q, k, v and gate, up are fused by the runtime: they share one scheme",
            "embedding, head and norms keep the model's dtype"};
  }

  std::string canonical(std::string_view scheme) const override {
    const auto choice = parse(scheme.empty() ? "w4a16-g128" : scheme);
    if (!choice)
      fail(ErrorKind::usage,
           "vllm has no scheme '{}'; choose w4a16 or w8a16 followed by -gN (such as w4a16-g128) or "
           "-channel",
           scheme);
    return fmt::format("w{}a16-{}", choice->bits, group_text(*choice));
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype model) const override {
    if (site.role == "token_embd" || site.role == "output") return {.dense = model};
    const Choice choice = *parse(scheme);
    const Layout& layout = find_layout("ct-pack");
    Storage s{.layout = &layout, .scheme = symmetric_int(choice.bits, choice.group, model)};
    if (layout.refuses(s.scheme, site.out, site.in))
      fail(ErrorKind::unsupported, "vllm:{} cannot take {} [{}, {}]: the group does not divide its input width; use {}",
           scheme, site.name, site.out, site.in, usable_groups(site.in));
    const int64_t g = choice.group;
    if (g != 0 && g != 32 && g != 64 && g != 128)
      s.remark = fmt::format(
          "{}: vLLM's fast kernel takes groups of 32, 64, 128 or channel, not {}; only its slow path "
          "is left",
          site.name, g);
    else if (site.out % 64 != 0 || site.in % 128 != 0)
      s.remark = fmt::format(
          "{} [{}, {}]: vLLM's fast kernel wants outputs divisible by 64 and inputs by 128; only its "
          "slow path is left",
          site.name, site.out, site.in);
    return s;
  }

  Dtype vector_dtype(Dtype model) const override { return model; }
  Arithmetic arithmetic(Dtype model) const override {
    return {.stream = model, .attention = model, .fused_attention = true};
  }
  Provenance provenance() const override { return Provenance::from_source; }
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
