// A folder of the Hugging Face hub: weights in safetensors, a config.json that the target completes, and the tokenizer,
// generation and licence files of the source as they are.
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/json.h"
#include "pipeline/report/source_identity.h"
#include "pipeline/repository/hub_companions.h"
#include "pipeline/repository/repository.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kShardBytes = 5'000'000'000;
constexpr std::string_view kWeights = "model.safetensors", kIndex = "model.safetensors.index.json";

// Copied from the source.
constexpr const char* kOfTheModel[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "tokenizer.model",
                                       "spiece.model",
                                       "sentencepiece.bpe.model",
                                       "tiktoken.model",
                                       "tekken.json",
                                       "vocab.txt",
                                       "vocab.json",
                                       "merges.txt",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       kGenerationConfig};
// Of loaders: config.json, and what some formats say beside it. A loader of another format would believe them, too.
constexpr const char* kConfigs[] = {"config.json", "quantize_config.json", "quant_config.json"};

std::string weights_name(const std::string&, const std::string&) { return ""; }

Metadata metadata(const Architecture&, const TokenizerSource&, const std::string&, const std::string&) {
  return {{"format", std::string("pt")}};
}

// transformers 5 writes "dtype", older versions "torch_dtype".
void name_dtype(ordered_json& config, Dtype dtype) {
  bool named = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (!config.contains(key)) continue;
    config[key] = torch_name_of(dtype);
    named = true;
  }
  if (!named) config["torch_dtype"] = torch_name_of(dtype);
}

std::vector<fs::path> write_companions(const RepositoryContent& c) {
  const fs::path source = folder_of_model(c.source.path);
  std::vector<fs::path> written;
  ordered_json config = config_of(c.source);
  const Target& target = *c.plan.choice.target;
  if (c.plan.dtype != c.source.architecture.dtype) name_dtype(config, c.plan.dtype);
  target.configure(config, c.plan.choice.scheme, stored_sites(c.plan));
  std::vector<CompanionFile> files = target.companions(config);
  files.push_back({"config.json", json_text(config) + "\n"});
  for (const CompanionFile& file : files) {
    write_text(c.folder / file.name, file.text);
    written.push_back(c.folder / file.name);
  }
  const auto copy = [&](const char* name) {
    if (!fs::is_regular_file(source / name)) return;
    write_text(c.folder / name, read_text(source / name));
    written.push_back(c.folder / name);
  };
  for (const char* name : kOfTheModel) copy(name);
  if (const ordered_json generation = generation_config_of(c.source); !generation.is_null()) {
    const fs::path file = c.folder / kGenerationConfig;
    write_text(file, json_text(generation) + "\n");
    if (std::find(written.begin(), written.end(), file) == written.end()) written.push_back(file);
  }
  for (fs::path& file : copy_licences(c.source.path, c.folder)) written.push_back(std::move(file));
  return written;
}

// Licences are not among them: they may be somebody else's, and no loader reads them.
bool owns(std::string_view file, std::string_view) {
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), file) != std::end(names);
  };
  return is_weights_file(file, kWeights) || file == kIndex || among(kOfTheModel) || among(kConfigs);
}

}  // namespace

const Repository& repository_huggingface() {
  static constexpr Repository kind{.name = "huggingface",
                                   .container = "safetensors",
                                   .shard_bytes = kShardBytes,
                                   .weights_name = weights_name,
                                   .metadata = metadata,
                                   .check_source = check_hub_source,
                                   .write_companions = write_companions,
                                   .write_adapter = write_peft_adapter,
                                   .adapter_bytes = peft_adapter_bytes,
                                   .owns = owns};
  return kind;
}

}  // namespace kerf
