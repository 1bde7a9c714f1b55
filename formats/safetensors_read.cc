// A sharded checkpoint is read as one container: every shard is mapped and checked by itself, then against the index.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/error.h"
#include "formats/safetensors.h"
#include "formats/text.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSuffix = ".safetensors", kIndexSuffix = ".safetensors.index.json";

struct Parts {
  std::vector<MappedFile> files;
  std::vector<StoredTensor> tensors;
  Metadata metadata;
};

bool there(const fs::path& path) {
  std::error_code error;  // a name too long to exist does not exist
  return fs::exists(path, error);
}

// Appends one file; returns the number of its tensors.
size_t append_file(Parts& parts, const fs::path& path) {
  MappedFile file(path);
  SafetensorsHeader header = parse_safetensors_header(file.bytes(), path.string());
  for (SafetensorsEntry& e : header.entries)
    parts.tensors.push_back({.name = std::move(e.name),
                             .type = std::string(name_of(e.dtype)),
                             .shape = std::move(e.shape),
                             .bytes = file.bytes().subspan(e.begin, e.end - e.begin)});
  // The shards of one checkpoint repeat the same metadata; the first one counts.
  for (auto& [key, value] : header.metadata) {
    const auto same = [&key = key](const auto& m) { return m.first == key; };
    if (parts.files.empty() || std::none_of(parts.metadata.begin(), parts.metadata.end(), same))
      parts.metadata.emplace_back(std::move(key), std::move(value));
  }
  parts.files.push_back(std::move(file));
  return header.entries.size();
}

std::unique_ptr<Reader> open_file(const fs::path& path) {
  Parts parts;
  append_file(parts, path);
  return std::make_unique<Reader>(path, std::move(parts.files), std::move(parts.tensors), std::move(parts.metadata));
}

std::unique_ptr<Reader> open_index(const fs::path& path) {
  const std::string text = read_text(path, kSafetensorsHeaderLimit);
  std::unordered_map<std::string, std::string> file_of;
  std::map<std::string, size_t> tensors_in;  // shards in the order of their names
  for (auto& [tensor, file] : parse_safetensors_index(text, path.string())) {
    ++tensors_in[file];
    file_of.emplace(std::move(tensor), std::move(file));
  }
  for (const auto& [name, count] : tensors_in)
    if (!there(path.parent_path() / name))
      fail(ErrorKind::io, "{} names the shard {}, which is not in its folder; download it", path.string(),
           in_quotes(name));

  Parts parts;
  for (const auto& [name, count] : tensors_in) {
    const size_t first = parts.tensors.size();
    const size_t n = append_file(parts, path.parent_path() / name);
    for (const StoredTensor& t : std::span(parts.tensors).subspan(first)) {
      const auto it = file_of.find(t.name);
      if (it == file_of.end())
        fail(ErrorKind::bad_input, "the shard {} holds the tensor {}, which the index {} does not name", name,
             in_quotes(t.name), path.string());
      if (it->second != name)
        fail(ErrorKind::bad_input, "the shard {} holds the tensor {}, but the index {} says it lies in {}", name,
             in_quotes(t.name), path.string(), it->second);
    }
    if (n == count) continue;
    for (const auto& [tensor, file] : file_of) {
      const auto same = [&tensor = tensor](const StoredTensor& t) { return t.name == tensor; };
      if (file == name && std::none_of(parts.tensors.begin(), parts.tensors.end(), same))
        fail(ErrorKind::bad_input, "the index {} says that the tensor {} lies in {}, but it does not", path.string(),
             in_quotes(tensor), name);
    }
  }
  return std::make_unique<Reader>(path, std::move(parts.files), std::move(parts.tensors), std::move(parts.metadata));
}

std::unique_ptr<Reader> open_folder(const fs::path& dir) {
  if (const fs::path single = dir / "model.safetensors"; there(single)) return open_file(single);
  if (const fs::path index = dir / "model.safetensors.index.json"; there(index)) return open_index(index);
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == kSuffix) found.push_back(it->path());
  if (error) fail(ErrorKind::io, "cannot list {}: {}", dir.string(), error.message());
  if (found.size() == 1) return open_file(found[0]);
  if (found.size() > 1)
    fail(ErrorKind::bad_input,
         "{} holds {} .safetensors files, but neither model.safetensors nor "
         "model.safetensors.index.json; give the path of one file, or add the index",
         dir.string(), found.size());
  if (there(dir / "pytorch_model.bin") || there(dir / "pytorch_model.bin.index.json"))
    fail(ErrorKind::unsupported,
         "{} holds its weights as pytorch_model.bin; kerf reads safetensors: save the model "
         "again with safe_serialization=True",
         dir.string());
  fail(ErrorKind::io, "{} holds neither model.safetensors nor model.safetensors.index.json", dir.string());
}

}  // namespace

std::unique_ptr<Reader> open_safetensors(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path);
  if (path.filename().string().ends_with(kIndexSuffix)) return open_index(path);
  return open_file(path);
}

}  // namespace kerf
