// A cursor that cannot leave the file reads keys, then tensor infos; what the file promises is compared with what is
// left of it before anything is allocated.
#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "core/checked.h"
#include "core/stand_in.h"
#include "formats/ggml_type.h"
#include "formats/gguf.h"
#include "formats/shards.h"
#include "formats/text.h"

namespace kerf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are copied as they lie");

// A thousand times what the largest models have; keeps what is built for a hostile file small.
constexpr uint64_t kMaxKeys = 1 << 20, kMaxTensors = 1 << 20;
// The fewest bytes a key (empty name, type, one byte) and a tensor info (empty name, no dimensions) can take.
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 4 + 8;
constexpr uint32_t kString = 8, kArray = 9;
static_assert(std::is_same_v<std::variant_alternative_t<kString, MetaValue>, std::string>);
static_assert(std::is_same_v<std::variant_alternative_t<kArray, MetaValue>, MetaArray>);

// What is being read, for sentences; costs nothing until one is needed.
struct Part {
  std::string_view what;
  std::string_view of = {};
  std::string text() const { return of.empty() ? std::string(what) : fmt::format("{} of {}", what, in_quotes(of)); }
};

class Cursor {
 public:
  Cursor(std::span<const std::byte> file, std::string_view path) : file_(file), path_(path) {}

  std::string_view path() const { return path_; }
  std::span<const std::byte> file() const { return file_; }
  uint64_t position() const { return at_; }
  uint64_t left() const { return file_.size() - at_; }

  std::span<const std::byte> take(uint64_t n, Part part) {
    if (n > left())
      fail(ErrorKind::bad_input,
           "{}: {} at byte {} needs {} bytes, but only {} are left; the file is cut short or "
           "damaged: download it again",
           path_, part.text(), at_, n, left());
    const auto bytes = file_.subspan(at_, n);
    at_ += n;
    return bytes;
  }

  template <class T>
  T number(Part part) {
    T v;
    std::memcpy(&v, take(sizeof(T), part).data(), sizeof(T));
    return v;
  }

  std::string_view string(Part part) {
    const uint64_t begin = at_, length = number<uint64_t>(part);
    const auto bytes = take(length, part);
    const std::string_view s(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto bad = first_invalid_utf8(s))
      fail(ErrorKind::bad_input, "{}: {} at byte {} is not UTF-8: {}", path_, part.text(), begin, in_quotes(s));
    return s;
  }

 private:
  std::span<const std::byte> file_;
  std::string_view path_;
  uint64_t at_ = 0;
};

bool read_bool(Cursor& in, Part part) {
  const auto v = in.number<uint8_t>(part);
  if (v > 1) fail(ErrorKind::bad_input, "{}: {} is {}; a truth value is 0 or 1", in.path(), part.text(), v);
  return v == 1;
}

template <class T>
T read_scalar(Cursor& in, Part part) {
  if constexpr (std::is_same_v<T, bool>) {
    return read_bool(in, part);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return std::string(in.string(part));
  } else {
    return in.number<T>(part);
  }
}

template <class T>
std::vector<T> read_elements(Cursor& in, uint64_t count, Part part) {
  constexpr uint64_t least = std::is_same_v<T, std::string> ? 8 : sizeof(T);
  if (count > in.left() / least)
    fail(ErrorKind::bad_input,
         "{}: {} claims {} elements, but only {} bytes are left; the file is cut short or damaged", in.path(),
         part.text(), count, in.left());
  std::vector<T> values;
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    const auto bytes = in.take(count * sizeof(T), part);
    values.resize(count);
    if (count != 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  } else {
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(read_scalar<T>(in, part));
  }
  return values;
}

[[noreturn]] void refuse_value_type(const Cursor& in, Part part, uint32_t type) {
  fail(ErrorKind::bad_input, "{}: {} has the value type {}; GGUF has 0 to {}", in.path(), part.text(), type,
       std::variant_size_v<MetaValue> - 1);
}

// Turns a type id into the alternative of that index.
template <size_t I = 0>
MetaArray read_array_of(Cursor& in, uint32_t type, uint64_t count, Part part) {
  if constexpr (I == std::variant_size_v<MetaArray::Values>) {
    refuse_value_type(in, part, type);
  } else {
    if (type != I) return read_array_of<I + 1>(in, type, count, part);
    using Values = std::variant_alternative_t<I, MetaArray::Values>;
    if constexpr (std::is_same_v<Values, std::monostate>) {
      fail(ErrorKind::unsupported, "{}: {} is an array of arrays, which kerf does not read", in.path(), part.text());
    } else {
      return {read_elements<typename Values::value_type>(in, count, part)};
    }
  }
}

template <size_t I = 0>
MetaValue read_value_of(Cursor& in, uint32_t type, Part part) {
  if constexpr (I == std::variant_size_v<MetaValue>) {
    refuse_value_type(in, part, type);
  } else {
    if (type != I) return read_value_of<I + 1>(in, type, part);
    using Value = std::variant_alternative_t<I, MetaValue>;
    if constexpr (std::is_same_v<Value, MetaArray>) {
      const auto element = in.number<uint32_t>(part);
      const auto count = in.number<uint64_t>(part);
      return read_array_of(in, element, count, part);
    } else {
      return MetaValue(std::in_place_index<I>, read_scalar<Value>(in, part));
    }
  }
}

void check_count(const Cursor& in, uint64_t count, uint64_t least, uint64_t most, std::string_view things) {
  if (count > in.left() / least)
    fail(ErrorKind::bad_input,
         "{} claims {} {}, but the {} bytes that follow hold at most {}; the file is cut short or "
         "damaged",
         in.path(), count, things, in.left(), in.left() / least);
  if (count > most) fail(ErrorKind::unsupported, "{} has {} {}; kerf reads at most {}", in.path(), count, things, most);
}

Metadata read_metadata(Cursor& in, uint64_t count) {
  Metadata metadata;
  std::unordered_set<std::string_view> seen;  // of the file's own bytes
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = in.string({"a key"});
    if (key.empty()) fail(ErrorKind::bad_input, "{}: key number {} is empty", in.path(), i);
    if (!seen.insert(key).second)
      fail(ErrorKind::bad_input, "{} has the key {} twice; keys must be unique", in.path(), in_quotes(key));
    const Part part{"the value", key};
    const auto type = in.number<uint32_t>(part);
    metadata.emplace_back(key, read_value_of(in, type, part));
  }
  return metadata;
}

struct Info {
  StoredTensor tensor;
  uint64_t offset = 0, bytes = 0;
};

Info read_info(Cursor& in) {
  Info info;
  StoredTensor& t = info.tensor;
  t.name = in.string({"a tensor name"});
  const std::string what = fmt::format("{}: the tensor {}", in.path(), in_quotes(t.name));
  if (t.name.empty()) fail(ErrorKind::bad_input, "{} has no name", what);
  const auto dimensions = in.number<uint32_t>({"the shape", t.name});
  if (dimensions > kGgufMaxDimensions)
    fail(ErrorKind::bad_input, "{} has {} dimensions; at most {} are allowed", what, dimensions, kGgufMaxDimensions);
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto n = in.number<uint64_t>({"the shape", t.name});
    if (!std::in_range<int64_t>(n))
      fail(ErrorKind::bad_input, "{} has the dimension {}; its shape overflows 63 bits", what, n);
    t.shape.push_back(static_cast<int64_t>(n));
  }
  std::reverse(t.shape.begin(), t.shape.end());
  const auto id = in.number<uint32_t>({"the type", t.name});
  const GgmlType* type = find_ggml_type(id);
  if (!type)
    fail(ErrorKind::unsupported, "{} has the type id {}; kerf knows 0 to {}", what, id, ggml_types().size() - 1);
  t.type = type->name;
  info.bytes = ggml_bytes(*type, t.shape, what);
  info.offset = in.number<uint64_t>({"the offset", t.name});
  return info;
}

// Sorted by offset, each tensor begins at the first aligned byte after the one before.
void check_coverage(const std::vector<Info>& infos, uint64_t alignment, uint64_t size, std::string_view path) {
  std::vector<const Info*> sorted;
  for (const Info& i : infos) sorted.push_back(&i);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Info* a, const Info* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  uint64_t end = 0;
  for (const Info* i : sorted) {
    const std::string name = in_quotes(i->tensor.name);
    if (i->offset % alignment != 0)
      fail(ErrorKind::bad_input, "{}: the tensor {} lies at offset {}, which is no multiple of the alignment {}", path,
           name, i->offset, alignment);
    const uint64_t expected = round_up(end, alignment);
    if (i->offset < expected)
      fail(ErrorKind::bad_input, "{}: the tensor {} at offset {} overlaps the one before it, which ends at {}", path,
           name, i->offset, end);
    if (i->offset > expected)
      fail(ErrorKind::bad_input, "{}: there is a hole before the tensor {}, which lies at offset {} and not {}", path,
           name, i->offset, expected);
    if (i->offset > size || i->bytes > size - i->offset)
      fail(ErrorKind::bad_input,
           "{}: the tensor {} needs {} bytes at offset {}, but the data end at {}; the file is cut "
           "short: download it again",
           path, name, i->bytes, i->offset, size);
    end = i->offset + i->bytes;
  }
  if (size > round_up(end, alignment))
    fail(ErrorKind::bad_input, "{}: {} bytes after the last tensor belong to nothing; the file is damaged", path,
         size - end);
}

void read_preamble(Cursor& in) {
  const auto magic = in.take(4, {"the magic"});
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    refuse_stand_in(in.path(), "no GGUF file", in.file());
    fail(ErrorKind::bad_input, "{} does not begin with \"GGUF\"; it is not a GGUF file", in.path());
  }
  const auto version = in.number<uint32_t>({"the version"});
  if ((version & 0xFFFF) == 0 && version != 0)
    fail(ErrorKind::unsupported,
         "{} is a big-endian GGUF file; kerf reads little-endian ones: convert it with "
         "gguf-convert-endian",
         in.path());
  if (version == 1) fail(ErrorKind::unsupported, "{} is GGUF version 1; kerf reads versions 2 and 3", in.path());
  if (version != 2 && version != kGgufVersion)
    fail(ErrorKind::bad_input, "{} claims GGUF version {}; kerf reads versions 2 and 3", in.path(), version);
}

uint32_t alignment_of(const Metadata& metadata, std::string_view path) {
  for (const auto& [key, value] : metadata) {
    if (key != kGgufAlignmentKey) continue;
    const auto* alignment = std::get_if<uint32_t>(&value);
    if (!alignment)
      fail(ErrorKind::bad_input, "{}: {} has the type {}; it must be u32", path, key, type_name_of(value));
    check_gguf_alignment(*alignment, path);
    return *alignment;
  }
  return kGgufDefaultAlignment;
}

// One file on its own.
struct GgufFile {
  MappedFile file;
  std::vector<StoredTensor> tensors;
  Metadata metadata;
};

GgufFile read_file(const std::filesystem::path& path) {
  GgufFile result{.file = MappedFile(path)};
  const std::span<const std::byte> file = result.file.bytes();
  const std::string name = path.string();
  Cursor in(file, name);
  read_preamble(in);
  const auto tensor_count = in.number<uint64_t>({"the number of tensors"});
  const auto key_count = in.number<uint64_t>({"the number of keys"});
  check_count(in, tensor_count, kMinTensorBytes, kMaxTensors, "tensors");
  check_count(in, key_count, kMinKeyBytes, kMaxKeys, "keys");
  result.metadata = read_metadata(in, key_count);
  const uint32_t alignment = alignment_of(result.metadata, name);

  std::vector<Info> infos;
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    infos.push_back(read_info(in));
    if (!names.insert(infos.back().tensor.name).second)
      fail(ErrorKind::bad_input, "{} has the tensor {} twice; names must be unique", name,
           in_quotes(infos.back().tensor.name));
  }
  // A file without tensors may end before the padding.
  const uint64_t data = round_up<uint64_t>(in.position(), alignment);
  if (!infos.empty() && data > file.size())
    fail(ErrorKind::bad_input,
         "{} ends before its data, which begin at byte {}; the file is cut short: download it "
         "again",
         name, data);
  const std::span<const std::byte> all = file.subspan(std::min<uint64_t>(data, file.size()));
  check_coverage(infos, alignment, all.size(), name);

  result.tensors.reserve(infos.size());
  for (Info& i : infos) {
    i.tensor.bytes = all.subspan(i.offset, i.bytes);
    result.tensors.push_back(std::move(i.tensor));
  }
  return result;
}

// What a file says of the others of its model.
struct Split {
  int64_t number = 0, count = 1, tensors = 0;
};

Split split_of(const GgufFile& f, const std::string& path) {
  Split split;
  const auto read = [&](std::string_view key, auto type, int64_t& to) {
    for (const auto& [name, value] : f.metadata) {
      if (name != key) continue;
      const auto* number = std::get_if<decltype(type)>(&value);
      if (!number) fail(ErrorKind::bad_input, "{}: {} has the type {}", path, key, type_name_of(value));
      to = *number;
      return true;
    }
    return false;
  };
  if (!read(kGgufSplitCountKey, uint16_t{}, split.count) || split.count <= 1) return {};
  if (!read(kGgufSplitKey, uint16_t{}, split.number) || !read(kGgufSplitTensorsKey, int32_t{}, split.tensors))
    fail(ErrorKind::bad_input, "{} is one of {} files and lacks the key {} or {}", path, split.count, kGgufSplitKey,
         kGgufSplitTensorsKey);
  return split;
}

// NAME of NAME-00001-of-0000N.gguf.
std::string stem_of_first(const std::filesystem::path& path, const Split& split) {
  if (split.number != 0)
    fail(ErrorKind::bad_input, "{} is number {} of {} files; open the first, called NAME{}.gguf", path.string(),
         split.number + 1, split.count, shard_name("", 0, static_cast<size_t>(split.count)));
  const std::string suffix = shard_name("", 0, static_cast<size_t>(split.count)) + ".gguf", name = path.filename();
  if (!name.ends_with(suffix))
    fail(ErrorKind::bad_input, "{} is the first of {} files, which are found by their names; call it NAME{}",
         path.string(), split.count, suffix);
  return name.substr(0, name.size() - suffix.size());
}

void add_shard(GgufFile& model, std::vector<MappedFile>& files, const std::filesystem::path& path, int64_t number,
               const Split& split) {
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    fail(ErrorKind::bad_input, "{} is missing: the model lies in {} files; download it again", path.string(),
         split.count);
  GgufFile shard = read_file(path);
  const Split own = split_of(shard, path.string());
  if (own.number != number || own.count != split.count)
    fail(ErrorKind::bad_input, "{} says that it is number {} of {} files, and should be number {} of {}", path.string(),
         own.number + 1, own.count, number + 1, split.count);
  std::unordered_set<std::string_view> names;
  for (const StoredTensor& t : model.tensors) names.insert(t.name);
  for (const StoredTensor& t : shard.tensors)
    if (names.contains(t.name))
      fail(ErrorKind::bad_input, "{} has the tensor {}, which an earlier file has too", path.string(),
           in_quotes(t.name));
  std::move(shard.tensors.begin(), shard.tensors.end(), std::back_inserter(model.tensors));
  files.push_back(std::move(shard.file));
}

}  // namespace

void check_gguf_alignment(uint32_t alignment, std::string_view what) {
  if (alignment < 8 || alignment > (uint32_t{1} << 20) || !std::has_single_bit(alignment))
    fail(ErrorKind::bad_input, "{}: {} is {}; it must be a power of two from 8 to {}", what, kGgufAlignmentKey,
         alignment, uint32_t{1} << 20);
}

std::unique_ptr<Reader> open_gguf(const std::filesystem::path& path) {
  GgufFile first = read_file(path);
  const Split split = split_of(first, path.string());
  std::vector<MappedFile> files;
  files.push_back(std::move(first.file));
  if (split.count > 1) {
    const std::string stem = stem_of_first(path, split);
    for (int64_t i = 1; i < split.count; ++i)
      add_shard(
          first, files,
          path.parent_path() / (shard_name(stem, static_cast<size_t>(i), static_cast<size_t>(split.count)) + ".gguf"),
          i, split);
    if (static_cast<int64_t>(first.tensors.size()) != split.tensors)
      fail(ErrorKind::bad_input, "{} and the files that belong to it have {} tensors, and should have {}",
           path.string(), first.tensors.size(), split.tensors);
  }
  return std::make_unique<Reader>(path, std::move(files), std::move(first.tensors), std::move(first.metadata));
}

}  // namespace kerf
