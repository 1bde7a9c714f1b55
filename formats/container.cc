// The reader's tables, and the choice of a container for a path.
#include "formats/container.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>

#include "core/stand_in.h"
#include "formats/text.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr std::array<std::string_view, 13> kTypeNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                         "bool", "string", "array", "u64", "i64", "f64"};
static_assert(std::variant_size_v<MetaValue> == kTypeNames.size());
static_assert(std::variant_size_v<MetaArray::Values> == kTypeNames.size());

template <class T>
bool same_bits(const T& x, const T& y) {
  if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y);
  else
    return x == y;
}
template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const T& a, const T& b) { return same_bits(a, b); });
}

}  // namespace

size_t MetaArray::size() const {
  return std::visit(
      [](const auto& v) -> size_t {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>) {
          return 0;
        } else {
          return v.size();
        }
      },
      values);
}

std::string type_name_of(const MetaValue& v) {
  if (const auto* array = std::get_if<MetaArray>(&v))
    return fmt::format("array of {}", kTypeNames[array->values.index()]);
  return std::string(kTypeNames[v.index()]);
}

bool identical(const MetaValue& a, const MetaValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* array = std::get_if<MetaArray>(&a)) {
    const MetaArray& other = std::get<MetaArray>(b);
    return array->values.index() == other.values.index() &&
           std::visit([&](const auto& x) { return same_bits(x, std::get<std::decay_t<decltype(x)>>(other.values)); },
                      array->values);
  }
  return std::visit([&](const auto& x) { return same_bits(x, std::get<std::decay_t<decltype(x)>>(b)); }, a);
}

Reader::Reader(fs::path path, std::vector<MappedFile> files, std::vector<StoredTensor> tensors, Metadata metadata)
    : path_(std::move(path)), files_(std::move(files)), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {
  tensor_index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (!tensor_index_.emplace(tensors_[i].name, i).second)
      fail(ErrorKind::internal, "{}: a container let the tensor name {} pass twice", path_.string(),
           in_quotes(tensors_[i].name));
  metadata_index_.reserve(metadata_.size());
  for (size_t i = 0; i < metadata_.size(); ++i) metadata_index_.emplace(metadata_[i].first, i);
}

std::vector<fs::path> Reader::files() const {
  std::vector<fs::path> paths;
  for (const MappedFile& f : files_) paths.push_back(f.path());
  return paths;
}

const StoredTensor* Reader::find(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const MetaValue* Reader::find_metadata(std::string_view key) const {
  const auto it = metadata_index_.find(key);
  return it == metadata_index_.end() ? nullptr : &metadata_[it->second].second;
}

std::optional<int64_t> Reader::get_integer(std::string_view key) const {
  const MetaValue* v = find_metadata(key);
  if (!v) return std::nullopt;
  return std::visit(
      [&](const auto& x) -> int64_t {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (std::in_range<int64_t>(x)) return static_cast<int64_t>(x);
          fail(ErrorKind::bad_input, "{}: the value {} of the key {} is too large; at most {} is allowed",
               path_.string(), x, in_quotes(key), std::numeric_limits<int64_t>::max());
        } else {
          refuse_type(key, *v, "an integer");
        }
      },
      *v);
}

std::optional<double> Reader::get_number(std::string_view key) const {
  const MetaValue* v = find_metadata(key);
  if (!v) return std::nullopt;
  return std::visit(
      [&](const auto& x) -> double {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<double>(x);
        } else {
          refuse_type(key, *v, "a number");
        }
      },
      *v);
}

void Reader::refuse_type(std::string_view key, const MetaValue& v, std::string_view wanted) const {
  fail(ErrorKind::bad_input, "{}: the key {} has the type {}; it must be {}", path_.string(), in_quotes(key),
       type_name_of(v), wanted);
}

const MappedFile& Reader::file_of(std::span<const std::byte> part) const {
  // std::less orders pointers into different mappings, which < need not.
  const std::less<const std::byte*> before;
  for (const MappedFile& f : files_) {
    const std::span<const std::byte> all = f.bytes();
    if (!before(part.data(), all.data()) && !before(all.data() + all.size(), part.data() + part.size())) return f;
  }
  fail(ErrorKind::internal, "{}: bytes of another file", path_.string());
}

void Reader::read(std::span<const std::byte> part, std::span<std::byte> to) const { file_of(part).read(part, to); }
void Reader::release(std::span<const std::byte> part) const { file_of(part).release(part); }

const Container& find_container(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Container* c : all_containers()) {
    if (c->name == name) return *c;
    known.push_back(c->name);
  }
  fail(ErrorKind::usage, "there is no container {}; the known ones are {}", in_quotes(name), fmt::join(known, ", "));
}

std::unique_ptr<Reader> open_container(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorKind::io, "there is no file or folder {}", path.string());
  std::vector<std::string_view> known;
  for (const Container* c : all_containers()) {
    if (c->recognises(path)) return c->open(path);
    known.push_back(c->describe);
  }
  const std::string neither = fmt::format("neither {}", fmt::join(known, " nor "));
  constexpr const char* kToDo = "; give the path of one of these";
  refuse_stand_in(path.string(), neither, head_of(path), kToDo);
  fail(ErrorKind::bad_input, "{} is {}{}", path.string(), neither, kToDo);
}

}  // namespace kerf
