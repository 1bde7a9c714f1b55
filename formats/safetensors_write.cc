// Shards are cut in the order of the plan, as transformers does.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "formats/safetensors.h"
#include "formats/shape.h"
#include "formats/shards.h"
#include "formats/text.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSuffix = ".safetensors";

std::string json_string(const std::string& s) { return nlohmann::json(s).dump(); }

Dtype checked_dtype(const PlannedTensor& t) {
  const std::string what = fmt::format("the planned tensor {}", in_quotes(t.name));
  const auto dtype = dtype_from_name(t.type);
  if (!dtype) fail(ErrorKind::internal, "{} has the type {}, which is no safetensors dtype", what, in_quotes(t.type));
  const int64_t bits = checked_mul<int64_t>(elements_of_stored_shape(t.shape, what), bits_of(*dtype), what);
  if (bits % 8 != 0) fail(ErrorKind::unsupported, "{} has {} bits; safetensors holds whole bytes", what, bits);
  if (static_cast<uint64_t>(bits / 8) != t.bytes)
    fail(ErrorKind::internal, "{} needs {} bytes and was planned with {}", what, bits / 8, t.bytes);
  return *dtype;
}

std::string metadata_json(const Metadata& metadata) {
  std::string out;
  std::unordered_set<std::string_view> seen;
  for (const auto& [key, value] : metadata) {
    const auto* text = std::get_if<std::string>(&value);
    if (!text)
      fail(ErrorKind::internal, "the metadata key {} is of type {}; safetensors holds strings", in_quotes(key),
           type_name_of(value));
    if (!seen.insert(key).second) fail(ErrorKind::internal, "the metadata key {} was planned twice", in_quotes(key));
    if (first_invalid_utf8(key) || first_invalid_utf8(*text))
      fail(ErrorKind::bad_input, "the metadata {} = {} are not UTF-8", in_quotes(key), in_quotes(*text));
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", json_string(key), json_string(*text));
  }
  return out;
}

// Fills in where the shard's tensors lie; returns the file's first bytes.
std::string place_shard(const FilePlan& plan, Shard& shard, const std::vector<Dtype>& dtypes, std::string_view metadata,
                        size_t file, std::vector<Placement::Place>& places) {
  // Larger elements first: every tensor is then aligned to its element, which readers that view mapped bytes require.
  std::stable_sort(shard.tensors.begin(), shard.tensors.end(),
                   [&](size_t a, size_t b) { return bits_of(dtypes[a]) > bits_of(dtypes[b]); });
  std::string json = "{";
  if (!metadata.empty()) json += fmt::format("\"__metadata__\":{{{}}}", metadata);
  uint64_t at = 0;
  for (size_t i : shard.tensors) {
    const PlannedTensor& t = plan.tensors[i];
    if (json.size() > 1) json += ',';
    json += json_string(t.name) + fmt::format(":{{\"dtype\":\"{}\",\"shape\":[", t.type);
    for (size_t d = 0; d < t.shape.size(); ++d) json += fmt::format("{}{}", d == 0 ? "" : ",", t.shape[d]);
    json += fmt::format("],\"data_offsets\":[{},{}]}}", at, at + t.bytes);
    places[i] = {.file = file, .offset = at};
    at += t.bytes;
  }
  json += '}';
  json.resize(round_up<size_t>(json.size(), 8), ' ');
  if (json.size() > kSafetensorsHeaderLimit)
    fail(ErrorKind::unsupported,
         "the safetensors header would have {} bytes; at most {} are allowed: write smaller "
         "shards",
         json.size(), kSafetensorsHeaderLimit);
  const uint64_t length = json.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, 8);
  header += json;
  for (size_t i : shard.tensors) places[i].offset += header.size();
  return header;
}

std::string index_json(const FilePlan& plan, const Placement& placement) {
  std::vector<size_t> by_name(plan.tensors.size());
  std::iota(by_name.begin(), by_name.end(), size_t{0});
  std::sort(by_name.begin(), by_name.end(),
            [&](size_t a, size_t b) { return plan.tensors[a].name < plan.tensors[b].name; });
  uint64_t total = 0;
  for (const PlannedTensor& t : plan.tensors) total += t.bytes;
  std::string out = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{\n", total);
  for (size_t k = 0; k < by_name.size(); ++k) {
    const fs::path& file = placement.files[placement.places[by_name[k]].file].path;
    out += fmt::format("    {}: {}{}\n", json_string(plan.tensors[by_name[k]].name),
                       json_string(file.filename().string()), k + 1 < by_name.size() ? "," : "");
  }
  return out + "  }\n}\n";
}

}  // namespace

Placement place_safetensors(const fs::path& path, const FilePlan& plan) {
  std::unordered_set<std::string_view> names;
  std::vector<Dtype> dtypes;
  for (const PlannedTensor& t : plan.tensors) {
    dtypes.push_back(checked_dtype(t));
    if (first_invalid_utf8(t.name)) fail(ErrorKind::bad_input, "the tensor name {} is not UTF-8", in_quotes(t.name));
    if (t.name == "__metadata__" || !names.insert(t.name).second)
      fail(ErrorKind::internal, "the tensor name {} was planned twice or is reserved", in_quotes(t.name));
  }
  const std::string metadata = metadata_json(plan.metadata);

  std::error_code error;
  const bool folder = path.extension() != kSuffix || fs::is_directory(path, error);
  const fs::path dir = folder ? path : path.parent_path();
  const std::string stem = folder ? "model" : path.stem().string();

  std::vector<Shard> shards = cut_into_shards(plan);
  Placement placement;
  placement.places.resize(plan.tensors.size());
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string name = shard_name(stem, s, shards.size());
    std::string header = place_shard(plan, shards[s], dtypes, metadata, s, placement.places);
    const uint64_t size = checked_add<uint64_t>(header.size(), shards[s].bytes, "the size of a file");
    placement.files.push_back({.path = dir / (name + std::string(kSuffix)), .header = std::move(header), .size = size});
  }
  if (shards.size() > 1) {
    placement.index = dir / (stem + std::string(kSuffix) + ".index.json");
    placement.index_text = index_json(plan, placement);
  }
  return placement;
}

std::unique_ptr<Writer> create_safetensors(const fs::path& path, const FilePlan& plan) {
  std::error_code error;
  if (path.extension() != kSuffix && !fs::is_directory(path, error))
    fail(ErrorKind::internal, "{} is neither a folder nor a name that ends in {}", path.string(), kSuffix);
  return std::make_unique<Writer>(plan, place_safetensors(path, plan));
}

}  // namespace kerf
