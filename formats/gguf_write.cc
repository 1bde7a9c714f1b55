// The whole header is made in memory from the plan; offsets follow from sizes alone.
#include <cstring>
#include <unordered_set>

#include "core/checked.h"
#include "formats/ggml_type.h"
#include "formats/gguf.h"
#include "formats/shards.h"
#include "formats/text.h"

namespace kerf {
namespace {

constexpr size_t kMaxKey = 65535;  // docs/gguf.md

template <class T>
void put(std::string& out, T v) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &v, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_string(std::string& out, std::string_view s, std::string_view what) {
  if (first_invalid_utf8(s))
    fail(ErrorKind::bad_input, "{}: {} is not UTF-8, which GGUF strings must be", what, in_quotes(s));
  put(out, static_cast<uint64_t>(s.size()));
  out += s;
}

template <class T>
void put_scalar(std::string& out, const T& v, std::string_view what) {
  if constexpr (std::is_same_v<T, std::string>) {
    put_string(out, v, what);
  } else if constexpr (std::is_same_v<T, bool>) {
    put(out, static_cast<uint8_t>(v ? 1 : 0));
  } else {
    put(out, v);
  }
}

void put_array(std::string& out, const MetaArray& array, std::string_view what) {
  put(out, static_cast<uint32_t>(array.values.index()));
  put(out, static_cast<uint64_t>(array.size()));
  std::visit(
      [&](const auto& values) {
        using Values = std::decay_t<decltype(values)>;
        if constexpr (std::is_same_v<Values, std::monostate>) {
          fail(ErrorKind::internal, "{}: an array of arrays was planned", what);
        } else {
          for (auto&& v : values) put_scalar<typename Values::value_type>(out, v, what);
        }
      },
      array.values);
}

uint32_t put_metadata(std::string& out, const Metadata& metadata) {
  uint32_t alignment = kGgufDefaultAlignment;
  std::unordered_set<std::string_view> seen;
  for (const auto& [key, value] : metadata) {
    const std::string what = fmt::format("the metadata key {}", in_quotes(key));
    if (key.empty() || key.size() > kMaxKey || !seen.insert(key).second)
      fail(ErrorKind::internal, "{} was planned twice, is empty, or is longer than {} bytes", what, kMaxKey);
    if (key == kGgufAlignmentKey) {
      const auto* wanted = std::get_if<uint32_t>(&value);
      if (!wanted) fail(ErrorKind::internal, "{} must be u32, not {}", what, type_name_of(value));
      check_gguf_alignment(alignment = *wanted, "the plan");
    }
    put_string(out, key, what);
    put(out, static_cast<uint32_t>(value.index()));
    std::visit(
        [&](const auto& v) {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, MetaArray>) {
            put_array(out, v, what);
          } else {
            put_scalar(out, v, what);
          }
        },
        value);
  }
  return alignment;
}

void put_info(std::string& out, const PlannedTensor& t, uint64_t offset) {
  const std::string what = fmt::format("the tensor {}", in_quotes(t.name));
  if (t.name.empty() || t.name.size() > kGgufMaxTensorName)
    fail(ErrorKind::unsupported, "{} has a name of {} bytes; llama.cpp takes 1 to {}", what, t.name.size(),
         kGgufMaxTensorName);
  if (t.shape.size() > kGgufMaxDimensions)
    fail(ErrorKind::unsupported, "{} has {} dimensions; GGUF takes {}", what, t.shape.size(), kGgufMaxDimensions);
  const GgmlType* type = find_ggml_type(t.type);
  if (!type) fail(ErrorKind::internal, "{} was planned as {}, which is no ggml type", what, in_quotes(t.type));
  if (const uint64_t bytes = ggml_bytes(*type, t.shape, what); bytes != t.bytes)
    fail(ErrorKind::internal, "{} needs {} bytes and was planned with {}", what, bytes, t.bytes);
  put_string(out, t.name, what);
  const std::vector<int64_t> shape = t.shape.empty() ? std::vector<int64_t>{1} : t.shape;
  put(out, static_cast<uint32_t>(shape.size()));
  for (auto d = shape.rbegin(); d != shape.rend(); ++d) put(out, static_cast<uint64_t>(*d));
  put(out, type->id);
  put(out, offset);
}

// Of one file: all keys in the first, only how data are aligned in the others.
Metadata metadata_of(const FilePlan& plan, size_t shard, size_t shards) {
  if (shards == 1) return plan.metadata;
  Metadata metadata;
  for (const auto& [key, value] : plan.metadata)
    if (shard == 0 || key == kGgufAlignmentKey) metadata.emplace_back(key, value);
  metadata.emplace_back(kGgufSplitKey, static_cast<uint16_t>(shard));
  metadata.emplace_back(kGgufSplitCountKey, static_cast<uint16_t>(shards));
  metadata.emplace_back(kGgufSplitTensorsKey, checked_cast<int32_t>(plan.tensors.size(), "the number of tensors"));
  return metadata;
}

// Makes the header of one file and fills in where its tensors lie.
Placement::File place_file(std::filesystem::path path, const FilePlan& plan, const Shard& shard,
                           const Metadata& metadata, size_t file, std::vector<Placement::Place>& places) {
  std::string header = "GGUF";
  put(header, kGgufVersion);
  put(header, static_cast<uint64_t>(shard.tensors.size()));
  put(header, static_cast<uint64_t>(metadata.size()));
  const uint64_t alignment = put_metadata(header, metadata);
  uint64_t at = 0;  // from the start of the data
  for (const size_t i : shard.tensors) {
    put_info(header, plan.tensors[i], at);
    places[i] = {.file = file, .offset = at};
    at = round_up(checked_add(at, plan.tensors[i].bytes, path.string()), alignment);
  }
  header.resize(round_up<uint64_t>(header.size(), alignment), '\0');
  for (const size_t i : shard.tensors) places[i].offset += header.size();
  const uint64_t size = checked_add<uint64_t>(header.size(), at, path.string());
  return {.path = std::move(path), .header = std::move(header), .size = size};
}

}  // namespace

Placement place_gguf(const std::filesystem::path& path, const FilePlan& plan) {
  std::unordered_set<std::string_view> names;
  for (const PlannedTensor& t : plan.tensors)
    if (!names.insert(t.name).second) fail(ErrorKind::internal, "the tensor {} was planned twice", in_quotes(t.name));
  const std::vector<Shard> shards = cut_into_shards(plan);
  if (shards.size() > kGgufMaxShards)
    fail(ErrorKind::unsupported, "{} would take {} files; GGUF counts at most {}: let them be larger", path.string(),
         shards.size(), kGgufMaxShards);
  Placement placement;
  placement.places.resize(plan.tensors.size());
  for (size_t i = 0; i < shards.size(); ++i) {
    std::filesystem::path file = path;
    if (shards.size() > 1) file.replace_filename(shard_name(path.stem(), i, shards.size()) + ".gguf");
    placement.files.push_back(
        place_file(std::move(file), plan, shards[i], metadata_of(plan, i, shards.size()), i, placement.places));
  }
  return placement;
}

std::unique_ptr<Writer> create_gguf(const std::filesystem::path& path, const FilePlan& plan) {
  return std::make_unique<Writer>(plan, place_gguf(path, plan));
}

}  // namespace kerf
