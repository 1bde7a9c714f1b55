// The quantization_config of compressed-tensors' "pack-quantized". Keys that only newer readers know are left out:
// their absence means the default, and older readers refuse keys that they do not know.
// Source: compressed_tensors, quantization/quant_config.py, quant_args.py.
#include "pipeline/export_huggingface.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kCompanions[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "tokenizer.model",
                                       "vocab.json",
                                       "merges.txt",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "generation_config.json",
                                       "LICENSE",
                                       "LICENSE.txt",
                                       "LICENSE.md",
                                       "NOTICE"};

ordered_json quantization_config(const Scheme& s) {
  const int64_t group = s.levels[0].block.cols;
  ordered_json weights = {{"num_bits", s.bits},
                          {"type", "int"},
                          {"symmetric", true},
                          {"strategy", group ? "group" : "channel"},
                          {"group_size", group ? ordered_json(group) : ordered_json(nullptr)},
                          {"block_structure", nullptr},
                          {"dynamic", false},
                          {"actorder", nullptr},
                          {"observer", "minmax"},
                          {"observer_kwargs", ordered_json::object()}};
  ordered_json everything = {
      {"targets", {"Linear"}}, {"weights", weights}, {"input_activations", nullptr}, {"output_activations", nullptr}};
  return {
      {"quant_method", "compressed-tensors"},      {"format", "pack-quantized"}, {"quantization_status", "compressed"},
      {"global_compression_ratio", nullptr},       {"kv_cache_scheme", nullptr}, {"ignore", {"lm_head"}},
      {"config_groups", {{"group_0", everything}}}};
}

const Scheme& scheme_of(const TargetPlan& plan) {
  for (const PlannedMatrix& m : plan.matrices)
    if (m.storage.layout) return m.storage.scheme;
  fail(ErrorKind::internal, "{} packs nothing", plan.choice.text());
}

}  // namespace

std::vector<fs::path> write_huggingface_companions(const fs::path& source, const TargetPlan& plan,
                                                   const fs::path& out) {
  std::vector<fs::path> written;
  ordered_json config = ordered_json::parse(read_text(source / "config.json"));
  config["quantization_config"] = quantization_config(scheme_of(plan));
  write_text(out / "config.json", config.dump(2) + "\n");
  written.push_back(out / "config.json");
  for (const char* name : kCompanions) {
    if (!fs::is_regular_file(source / name)) continue;
    write_text(out / name, read_text(source / name));
    written.push_back(out / name);
  }
  return written;
}

}  // namespace kerf
