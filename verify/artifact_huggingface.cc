// Checkpoints as on the Hugging Face hub: full precision, or quantized in one of the stored formats.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "model/text/tokenizer_tables.h"
#include "targets/target.h"
#include "verify/artifact.h"
#include "verify/stored.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

StoredWeight plain(const StoredTensor& t, const std::string& file) {
  const auto dtype = dtype_from_name(t.type);
  if (!dtype) fail(ErrorKind::bad_input, "{}: tensor {} has the unknown type {}", file, t.name, t.type);
  return {.info = {.name = t.name, .dtype = *dtype, .shape = t.shape},
          .file_name = t.name,
          .type = t.type,
          .bytes = t.bytes,
          .stored_bytes = t.bytes.size()};
}

// The formats that the quantization_config announces.
std::vector<const StoredFormat*> formats_of(const QuantizedRepository& r) {
  std::vector<const StoredFormat*> formats;
  std::string known;
  for (const StoredFormat* f : all_storeds()) {
    if (f->recognises(r)) formats.push_back(f);
    known += fmt::format("{}{}", known.empty() ? "" : ", ", f->name);
  }
  if (formats.empty())
    fail(ErrorKind::unsupported, "{}: kerf does not read the quantization \"{}\"; it knows {}", r.config_file,
         fmt::format("{}{}{}", r.text("quant_method"), r.text("format").empty() ? "" : " ", r.text("format")), known);
  return formats;
}

std::vector<StoredWeight> quantized(const QuantizedRepository& r, std::span<const StoredFormat* const> formats) {
  std::vector<StoredWeight> weights;
  for (const StoredTensor& t : r.reader.tensors()) {
    const auto owner =
        std::find_if(formats.begin(), formats.end(), [&](const StoredFormat* f) { return f->owns(r, t); });
    if (owner == formats.end())
      weights.push_back(plain(t, r.reader.path().string()));
    else if (auto w = (*owner)->weight(r, t))
      weights.push_back(std::move(*w));
  }
  return weights;
}

}  // namespace

StoredWeight packed_weight(const std::string& module, int64_t out, int64_t in) {
  StoredWeight w;
  w.info.name = w.file_name = module + ".weight";
  w.info.shape = {out, in};
  return w;
}

std::string QuantizedRepository::text(const char* key) const {
  const auto at = quantization.find(key);
  return at != quantization.end() && at->is_string() ? at->get<std::string>() : "";
}

Artifact open_huggingface_artifact(const fs::path& path) {
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  const fs::path config_file = folder / "config.json";
  if (!fs::exists(config_file))
    fail(ErrorKind::io,
         "{} has no config.json beside it; a checkpoint is a folder with config.json, safetensors and a "
         "tokenizer",
         path.string());
  const json config = read_json_object(config_file);
  Artifact a{.path = path, .format = "checkpoint", .architecture = describe_architecture(config)};
  std::unique_ptr<Reader> reader = find_container("safetensors").open(path);
  std::vector<StoredWeight> weights;
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || quantization->is_null()) {
    for (const StoredTensor& t : reader->tensors()) weights.push_back(plain(t, reader->path().string()));
  } else {
    if (!quantization->is_object())
      fail(ErrorKind::bad_input, "{}: quantization_config is {}, not an object", config_file.string(),
           short_json(*quantization));
    const QuantizedRepository repository{*reader, *quantization, config_file.string(), a.architecture.dtype};
    const auto formats = formats_of(repository);
    a.format = formats[0]->family;
    a.target = formats[0]->target;
    a.arithmetic = find_target(a.target).arithmetic(a.architecture.dtype);
    weights = quantized(repository, formats);
  }
  a.files = reader->files();
  for (const auto& f : a.files) a.bytes += fs::file_size(f);
  a.weights = std::make_unique<StoredWeights>(std::move(reader), std::move(weights));
  check_tensors(a.architecture, *a.weights);
  if (fs::exists(folder / "tokenizer.json")) {
    a.tokenizer = read_tokenizer_spec(folder);
    drop_tokens_past(a.tokenizer, a.architecture.vocab);
  }
  return a;
}

}  // namespace kerf
