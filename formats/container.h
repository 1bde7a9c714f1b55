// Containers: files that hold named tensors and metadata. One way to look into any of them, and one way to write them.
//
// Reading maps the file; a StoredTensor's bytes point into the mapping and live as long as its Reader. Everything in a
// file is checked when it is opened (lengths, shapes, offsets, names), so that a Reader that exists is consistent:
// the bytes of each tensor are exactly as many as its type and shape need, and no two tensors share one.
//
// Writing is planned: a FilePlan names every tensor with its size before the first byte is known, so that headers are
// written first and tensors follow as they come, in any order and from any thread. Nothing is visible under its final
// name before commit(); a Writer that is destroyed without it leaves what was there before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/sha256.h"

namespace kerf {

/// A typed list of metadata values. The alternative's index is GGUF's id of the element type, as in MetaValue; index 9
/// would be an array of arrays, which kerf neither reads nor writes.
struct MetaArray {
  using Values = std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                              std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
                              std::vector<std::string>, std::monostate, std::vector<uint64_t>, std::vector<int64_t>,
                              std::vector<double>>;
  Values values;

  size_t size() const;
  bool operator==(const MetaArray&) const = default;
};

/// A metadata value. The alternative's index is GGUF's id of the type: u8 i8 u16 i16 u32 i32 f32 bool string array u64
/// i64 f64. safetensors knows strings only.
using MetaValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               MetaArray, uint64_t, int64_t, double>;
using Metadata = std::vector<std::pair<std::string, MetaValue>>;

/// "u32", "string", "array of f32", ...: for people.
std::string type_name_of(const MetaValue&);
/// Bit for bit the same, of one type: == finds a NaN unlike itself.
bool identical(const MetaValue&, const MetaValue&);

/// One tensor as a file stores it.
struct StoredTensor {
  std::string name;
  std::string type;            // in the container's own spelling: "BF16", "Q4_0"
  std::vector<int64_t> shape;  // slowest dimension first, in every container
  std::span<const std::byte> bytes;
};

/// An opened container of one or more files. All methods are thread-safe.
class Reader {
 public:
  /// For containers only. Tensor names and metadata keys are unique.
  Reader(std::filesystem::path, std::vector<MappedFile>, std::vector<StoredTensor>, Metadata);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// What was opened, for sentences.
  const std::filesystem::path& path() const { return path_; }
  /// The files that were opened, the index of a sharded checkpoint not among them.
  std::vector<std::filesystem::path> files() const;
  /// In the order of the file; shards by file name.
  std::span<const StoredTensor> tensors() const { return tensors_; }
  /// nullptr when there is no such tensor.
  const StoredTensor* find(std::string_view name) const;
  const Metadata& metadata() const { return metadata_; }
  /// nullptr when there is no such key.
  const MetaValue* find_metadata(std::string_view key) const;

  /// The value of a key, nullptr when it is absent; Error bad_input when it has another type.
  template <class T>
  const T* get(std::string_view key) const {
    const MetaValue* v = find_metadata(key);
    if (!v) return nullptr;
    if (const T* t = std::get_if<T>(v)) return t;
    refuse_type(key, *v, type_name_of(MetaValue(T{})));
  }
  template <class T>
  T get_or(std::string_view key, T fallback) const {
    const T* v = get<T>(key);
    return v ? *v : fallback;
  }
  /// The same for the elements of an array.
  template <class T>
  const std::vector<T>* get_array(std::string_view key) const {
    const MetaValue* v = find_metadata(key);
    if (!v) return nullptr;
    if (const auto* array = std::get_if<MetaArray>(v))
      if (const auto* values = std::get_if<std::vector<T>>(&array->values)) return values;
    refuse_type(key, *v, type_name_of(MetaValue(MetaArray{std::vector<T>{}})));
  }
  /// A key of any integer type; Error bad_input when it is something else or past int64.
  std::optional<int64_t> get_integer(std::string_view key) const;
  /// A key of any integer or floating-point type.
  std::optional<double> get_number(std::string_view key) const;

  /// Copies bytes of a tensor by reading the file (MappedFile::read): for what is needed once.
  void read(std::span<const std::byte> part, std::span<std::byte> to) const;
  /// These bytes of a tensor will not be read again soon: their pages may leave memory.
  void release(std::span<const std::byte>) const;

 private:
  const MappedFile& file_of(std::span<const std::byte> part) const;
  [[noreturn]] void refuse_type(std::string_view key, const MetaValue&, std::string_view wanted) const;

  std::filesystem::path path_;
  std::vector<MappedFile> files_;
  std::vector<StoredTensor> tensors_;
  Metadata metadata_;
  std::unordered_map<std::string_view, size_t> tensor_index_, metadata_index_;
};

/// What will be written.
struct PlannedTensor {
  std::string name;
  std::string type;            // as StoredTensor::type
  std::vector<int64_t> shape;  // slowest first
  uint64_t bytes = 0;          // what type and shape need; anything else is an Error internal
};
struct FilePlan {
  std::vector<PlannedTensor> tensors = {};
  Metadata metadata = {};
  uint64_t shard_bytes = 0;  // most tensor bytes of one file (a larger tensor gets a file of its own); 0: one file
};

/// Where the bytes of a FilePlan go, once a container has decided it.
struct Placement {
  struct File {
    std::filesystem::path path;
    std::string header;  // its first bytes
    uint64_t size = 0;   // of the whole file
  };
  struct Place {
    size_t file = 0;
    uint64_t offset = 0;  // from the start of the file
  };
  std::vector<File> files;
  std::vector<Place> places;                   // one per planned tensor
  std::optional<std::filesystem::path> index;  // written last
  std::string index_text;
};

/// Writes planned tensors. Errors io name the file and the reason.
class Writer {
 public:
  /// For containers only. Creates every file under its partial_name() and writes the headers.
  Writer(const FilePlan&, Placement);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Bytes [offset, offset + size) of planned tensor number `tensor`: in any order, from any thread, each byte once.
  void write(size_t tensor, uint64_t offset, std::span<const std::byte>);
  /// Flushes and renames; returns the files, an index last. Error internal when a tensor is not complete. Files are
  /// renamed one by one, so a failure here can leave some of several shards replaced, but never an index of them.
  std::vector<std::filesystem::path> commit();
  /// After commit(): the SHA-256 of every file that it returned, computed while they were written.
  const std::map<std::filesystem::path, std::string>& checksums() const { return checksums_; }
  /// Size of everything commit() will have written.
  uint64_t total_bytes() const;

 private:
  struct Target {
    std::string name;
    uint64_t bytes = 0;
    std::atomic<uint64_t> written = 0;
  };
  struct OpenFile {
    explicit OpenFile(const std::filesystem::path& path)
        : file(path), sum([this](uint64_t offset, std::span<std::byte> to) { file.read_at(offset, to); }) {}
    void write_at(uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
      sum.wrote(offset, bytes);
    }
    AtomicFile file;
    RunningSha256 sum;
  };
  void write_pads();

  Placement placement_;
  std::vector<std::unique_ptr<OpenFile>> files_;
  std::vector<Target> targets_;
  std::map<std::filesystem::path, std::string> checksums_;
};

/// A plug-in: formats/container_<name>.cc.
struct Container {
  std::string_view name;
  std::string_view describe;  // one line for people
  /// Whether this path looks like this container, by its name or first bytes. Never throws on what a file holds.
  bool (*recognises)(const std::filesystem::path&);
  /// Error bad_input when the file is damaged, unsupported for a variant kerf does not read, io as the system says.
  std::unique_ptr<Reader> (*open)(const std::filesystem::path&);
  /// What create() would write. Errors as there. A path without the container's extension is a folder, where that has a
  /// name for files of its own.
  Placement (*place)(const std::filesystem::path&, const FilePlan&);
  /// Error internal for a plan that contradicts itself, unsupported for one that the container cannot hold.
  std::unique_ptr<Writer> (*create)(const std::filesystem::path&, const FilePlan&);
};

/// Every container, by name (the table is written by CMake).
std::span<const Container* const> all_containers();
/// Error usage with the known names.
const Container& find_container(std::string_view name);
/// Opens what recognises the path. Error io when there is nothing at the path, bad_input when no container knows it.
std::unique_ptr<Reader> open_container(const std::filesystem::path&);

}  // namespace kerf
