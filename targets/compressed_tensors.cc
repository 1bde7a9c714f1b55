// Keys that only newer readers know are left out: their absence means the default, and older readers refuse keys that
// they do not know.
// Source: compressed_tensors, quantization/quant_config.py, quant_scheme.py, quant_args.py.
#include "targets/compressed_tensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;

// The release whose bytes these are: since 0.17.0 "pack-quantized" is a dense stream of bits.
constexpr std::string_view kVersion = "0.17.0";

// Matrices that one config group describes.
struct Group {
  const Storage* storage;
  std::vector<std::string> modules = {};
};

std::string_view format_of(const Storage& s) {
  if (s.layout->name() == "ct-pack") return "pack-quantized";
  if (s.layout->name() == "ct-int") return "int-quantized";
  if (s.layout->name() == "ct-float") return "float-quantized";
  fail(ErrorKind::internal, "compressed-tensors has no format for the layout {}", s.layout->name());
}

// One QuantizationArgs.
ordered_json arguments(int bits, std::string_view type, bool symmetric, std::string_view strategy, int64_t group) {
  return {{"num_bits", bits},
          {"type", type},
          {"symmetric", symmetric},
          {"strategy", strategy},
          {"group_size", group ? ordered_json(group) : ordered_json(nullptr)},
          {"block_structure", nullptr},
          {"dynamic", false},
          {"actorder", nullptr},
          {"observer", "minmax"},
          {"observer_kwargs", ordered_json::object()}};
}

std::string_view type_of(const Scheme& s) { return s.grid == "fp8" ? "float" : "int"; }

ordered_json weights_of(const Scheme& s) {
  const Block& block = s.levels[0].block;
  const bool symmetric = s.levels.size() == 1;
  if (block.rows == 0) return arguments(s.bits, type_of(s), symmetric, "tensor", 0);
  if (block.rows == 1) return arguments(s.bits, type_of(s), symmetric, block.cols ? "group" : "channel", block.cols);
  ordered_json weights = arguments(s.bits, type_of(s), symmetric, "block", 0);
  weights["block_structure"] = {block.rows, block.cols};
  return weights;
}

// The formats of bytes are those whose activations are rounded too, per token or per group of a token as they come.
ordered_json activations_of(const Storage& s) {
  if (s.layout->name() == "ct-pack") return nullptr;
  const Block& block = s.scheme.levels[0].block;
  const int64_t group = block.rows > 1 ? block.cols : 0;
  ordered_json inputs = arguments(8, type_of(s.scheme), true, group ? "group" : "token", group);
  inputs["dynamic"] = true;
  inputs["observer"] = nullptr;
  return inputs;
}

std::vector<Group> groups_of(std::span<const StoredSite> sites) {
  std::vector<Group> groups;
  for (const StoredSite& site : sites) {
    if (!site.storage.layout) continue;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.storage->layout == site.storage.layout && g.storage->scheme == site.storage.scheme;
    });
    Group& group = same == groups.end() ? groups.emplace_back(Group{&site.storage}) : *same;
    group.modules.push_back(site.module());
  }
  return groups;
}

// The head is a Linear that nobody quantizes unless told to, so it is named even where it is tied to the embedding. The
// embedding is none.
ordered_json ignored(std::span<const StoredSite> sites) {
  ordered_json names = ordered_json::array();
  bool head = false;
  for (const StoredSite& site : sites) {
    if (site.shape.place == SitePlace::head) head = true;
    if (!site.storage.layout && site.shape.place != SitePlace::embedding) names.push_back(site.module());
  }
  if (!head) names.push_back("lm_head");
  return names;
}

}  // namespace

ordered_json compressed_tensors_config(std::span<const StoredSite> sites) {
  const std::vector<Group> groups = groups_of(sites);
  if (groups.empty()) fail(ErrorKind::internal, "nothing is packed, so there is nothing to describe");
  const auto most = std::max_element(
      groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.modules.size() < b.modules.size(); });
  std::string_view format = format_of(*most->storage);
  ordered_json described = ordered_json::object();
  for (auto g = groups.begin(); g != groups.end(); ++g) {
    const ordered_json targets = g == most ? ordered_json{"Linear"} : ordered_json(g->modules);
    ordered_json entry = {{"targets", targets},
                          {"weights", weights_of(g->storage->scheme)},
                          {"input_activations", activations_of(*g->storage)},
                          {"output_activations", nullptr}};
    if (format_of(*g->storage) != format_of(*most->storage)) format = "mixed-precision";
    described[fmt::format("group_{}", described.size())] = std::move(entry);
  }
  if (format == "mixed-precision")
    for (auto g = groups.begin(); g != groups.end(); ++g)
      described[fmt::format("group_{}", g - groups.begin())]["format"] = format_of(*g->storage);
  return {{"quant_method", "compressed-tensors"}, {"format", format},           {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},  {"kv_cache_scheme", nullptr}, {"ignore", ignored(sites)},
          {"config_groups", std::move(described)}};
}

}  // namespace kerf
