#include "pipeline/plan/saved_arrays.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kSumKey = "sha256";

// Of all that a file says, wherever in it that lies; the checksum itself is left out.
std::string sum_of(std::span<const StoredTensor> tensors, const Metadata& metadata) {
  Sha256 sum;
  for (const auto& [key, value] : metadata)
    if (const auto* text = std::get_if<std::string>(&value); text && key != kSumKey)
      sum.update(as_bytes(shown_json(ordered_json({key, *text}), -1)));
  std::map<std::string_view, const StoredTensor*> by_name;
  for (const StoredTensor& t : tensors) by_name.emplace(t.name, &t);
  for (const auto& [name, t] : by_name) {
    sum.update(as_bytes(ordered_json({t->name, t->type, t->shape}).dump()));
    sum.update(t->bytes);
  }
  return sum.finish();
}

[[noreturn]] void fail_with_restart_hint(const fs::path& file, std::string_view why) {
  fail(ErrorKind::bad_input, "{}; remove {} and begin anew", why, file.parent_path().parent_path().string());
}

}  // namespace

void SavedArrays::add(std::string name, std::string_view type, std::vector<int64_t> shape,
                      std::span<const std::byte> bytes) {
  tensors_.push_back({std::move(name), std::string(type), std::move(shape), bytes});
}

void SavedArrays::add(std::string name, std::span<const float> values) {
  add(std::move(name), "F32", {static_cast<int64_t>(values.size())}, std::as_bytes(values));
}

void SavedArrays::add(const std::string& name, const QuantizedMatrix& q) {
  add(name + ":codes", "U8", {std::ssize(q.codes)}, std::as_bytes(std::span(q.codes)));
  for (size_t i = 0; i < q.params.size(); ++i)
    add(fmt::format("{}:{}", name, i), "U8", {std::ssize(q.params[i].bytes)}, q.params[i].bytes);
}

void SavedArrays::write(const fs::path& folder, Metadata metadata) const {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::io, "cannot create the folder {}: {}", folder.string(), error.message());
  FilePlan plan{.metadata = std::move(metadata)};
  plan.metadata.emplace_back(kSumKey, sum_of(tensors_, plan.metadata));
  for (const StoredTensor& t : tensors_) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
  const auto writer = find_container("safetensors").create(folder, plan);
  for (size_t i = 0; i < tensors_.size(); ++i) writer->write(i, 0, tensors_[i].bytes);
  writer->commit();
}

void refuse_saved(const fs::path& file, std::string_view what) {
  fail_with_restart_hint(file, fmt::format("{}: {}", file.string(), what));
}

std::unique_ptr<Reader> open_saved(const fs::path& file) {
  try {
    return open_container(file);
  } catch (const Error& e) {
    fail_with_restart_hint(file, e.what());
  }
}

void check_saved(const Reader& reader) {
  if (reader.get_or<std::string>(kSumKey, "") != sum_of(reader.tensors(), reader.metadata()))
    refuse_saved(reader.path(), "the content is not what was saved: its SHA-256 is another");
}

std::span<const std::byte> saved_bytes(const Reader& reader, const std::string& name, size_t size) {
  const StoredTensor* t = reader.find(name);
  if (!t || t->bytes.size() != size) refuse_saved(reader.path(), fmt::format("{} of {} bytes is missing", name, size));
  return t->bytes;
}

std::vector<float> saved_floats(const Reader& reader, const StoredTensor& t) {
  if (t.type != "F32") refuse_saved(reader.path(), fmt::format("{} is stored as {}, not as F32", t.name, t.type));
  std::vector<float> values(t.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), t.bytes.data(), values.size() * sizeof(float));
  return values;
}

void load_saved(const Reader& reader, const std::string& name, QuantizedMatrix& q) {
  const auto codes = saved_bytes(reader, name + ":codes", q.codes.size());
  std::memcpy(q.codes.data(), codes.data(), codes.size());
  if (!q.codes.empty() && *std::max_element(q.codes.begin(), q.codes.end()) >= 1 << q.scheme.bits)
    refuse_saved(reader.path(), fmt::format("{} holds codes of more than {} bits", name, q.scheme.bits));
  for (size_t i = 0; i < q.params.size(); ++i) {
    const auto bytes = saved_bytes(reader, fmt::format("{}:{}", name, i), q.params[i].bytes.size());
    q.params[i].bytes.assign(bytes.begin(), bytes.end());
  }
}

}  // namespace kerf
