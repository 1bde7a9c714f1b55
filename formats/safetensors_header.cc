// The header is read event by event into entries; then every entry is checked against its neighbours and the file.
#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "core/checked.h"
#include "core/stand_in.h"
#include "formats/safetensors.h"
#include "formats/shape.h"
#include "formats/strict_json.h"
#include "formats/text.h"

namespace kerf {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

class HeaderHandler final : public StrictJson {
 public:
  using StrictJson::StrictJson;
  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(size_t) override {
    switch (at_) {
      case At::start:
        at_ = At::top;
        return true;
      case At::value:
        if (key_ == kMetadataKey) {
          at_ = At::metadata;
        } else {
          at_ = At::tensor;
          has_dtype_ = has_shape_ = has_offsets_ = false;
          header_.entries.emplace_back().name = key_;
        }
        return true;
      default:
        refuse("an object");
    }
  }

  bool key(string_t& k) override {
    switch (at_) {
      case At::top:
        if (!names_.insert(k).second)
          fail(ErrorKind::bad_input, "{} names the tensor {} twice; names must be unique", what(), in_quotes(k));
        key_ = std::move(k);
        at_ = At::value;
        return true;
      case At::metadata:
        if (!metadata_keys_.insert(k).second)
          fail(ErrorKind::bad_input, "{} has the metadata key {} twice; keys must be unique", what(), in_quotes(k));
        header_.metadata.emplace_back(std::move(k), std::string());
        at_ = At::metadata_value;
        return true;
      case At::tensor:
        if (k == "dtype") {
          once(has_dtype_, "dtype");
          at_ = At::dtype;
        } else if (k == "shape") {
          once(has_shape_, "shape");
          at_ = At::shape;
        } else if (k == "data_offsets") {
          once(has_offsets_, "data_offsets");
          at_ = At::offsets;
        } else {
          fail(ErrorKind::bad_input, "{}: the tensor {} has the key {}; only dtype, shape and data_offsets are allowed",
               what(), in_quotes(key_), in_quotes(k));
        }
        return true;
      default:
        refuse("a key");
    }
  }

  bool string(string_t& s) override {
    if (at_ == At::metadata_value) {
      header_.metadata.back().second = std::move(s);
      at_ = At::metadata;
    } else if (at_ == At::dtype) {
      const auto dtype = dtype_from_name(s);
      if (!dtype)
        fail(ErrorKind::unsupported, "{}: the tensor {} has the dtype {}, which kerf does not know", what(),
             in_quotes(key_), in_quotes(s));
      header_.entries.back().dtype = *dtype;
      at_ = At::tensor;
    } else {
      refuse("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (at_ == At::shape) {
      at_ = At::dimensions;
    } else if (at_ == At::offsets) {
      at_ = At::offset_values;
      offsets_ = 0;
    } else {
      refuse("an array");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t n) override {
    if (at_ == At::dimensions) {
      if (!std::in_range<int64_t>(n))
        fail(ErrorKind::bad_input, "{}: the tensor {} has the dimension {}; its shape overflows 63 bits", what(),
             in_quotes(key_), n);
      header_.entries.back().shape.push_back(static_cast<int64_t>(n));
    } else if (at_ == At::offset_values && offsets_ < 2) {
      SafetensorsEntry& entry = header_.entries.back();
      (offsets_++ == 0 ? entry.begin : entry.end) = n;
    } else {
      refuse("a number");
    }
    return true;
  }

  bool end_array() override {
    if (at_ == At::offset_values && offsets_ != 2)
      fail(ErrorKind::bad_input, "{}: the data_offsets of {} are {} numbers; they must be two", what(), in_quotes(key_),
           offsets_);
    at_ = At::tensor;
    return true;
  }

  bool end_object() override {
    if (at_ == At::tensor && !(has_dtype_ && has_shape_ && has_offsets_))
      fail(ErrorKind::bad_input, "{}: the tensor {} lacks its {}", what(), in_quotes(key_),
           !has_dtype_ ? "dtype" : (!has_shape_ ? "shape" : "data_offsets"));
    at_ = at_ == At::top ? At::end : At::top;
    return true;
  }

 private:
  enum class At {
    start,
    top,
    value,
    metadata,
    metadata_value,
    tensor,
    dtype,
    shape,
    dimensions,
    offsets,
    offset_values,
    end
  };

  std::string where() const override {
    switch (at_) {
      case At::start:
        return "where the header's object should be";
      case At::value:
        return fmt::format("where {} should be described by an object", in_quotes(key_));
      case At::metadata_value:
        return "in __metadata__, where only strings are allowed";
      case At::dtype:
        return fmt::format("as the dtype of {}, where a string should be", in_quotes(key_));
      case At::shape:
        return fmt::format("as the shape of {}, where an array should be", in_quotes(key_));
      case At::dimensions:
        return fmt::format("in the shape of {}, where only whole numbers from 0 on are allowed", in_quotes(key_));
      case At::offsets:
        return fmt::format("as the data_offsets of {}, where an array should be", in_quotes(key_));
      case At::offset_values:
        return fmt::format("in the data_offsets of {}, where two whole numbers should be", in_quotes(key_));
      default:
        return "where it does not belong";
    }
  }

  void once(bool& seen, std::string_view field) const {
    if (seen) fail(ErrorKind::bad_input, "{}: the tensor {} has two fields {}", what(), in_quotes(key_), field);
    seen = true;
  }

  SafetensorsHeader header_;
  std::unordered_set<std::string> names_, metadata_keys_;
  At at_ = At::start;
  std::string key_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_ = 0;
};

// Offsets cover [0, size) once: sorted, each begins where the one before ends.
void check_offsets(const std::vector<SafetensorsEntry>& entries, uint64_t size, std::string_view what) {
  std::vector<const SafetensorsEntry*> sorted;
  for (const SafetensorsEntry& e : entries) sorted.push_back(&e);
  std::sort(sorted.begin(), sorted.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t at = 0;
  std::string previous = "the start of the data";
  for (const SafetensorsEntry* e : sorted) {
    if (e->begin > at)
      fail(ErrorKind::bad_input, "{}: there is a hole of {} bytes between {} and {}; data must be contiguous", what,
           e->begin - at, previous, in_quotes(e->name));
    if (e->begin < at)
      fail(ErrorKind::bad_input, "{}: the data of {} overlap those of {}; each byte may belong to one tensor", what,
           in_quotes(e->name), previous);
    at = e->end;
    previous = in_quotes(e->name);
  }
  if (at > size)
    fail(ErrorKind::bad_input,
         "{}: the header describes {} bytes of data, but only {} follow it; the file is cut "
         "short: download it again",
         what, at, size);
  if (at < size)
    fail(ErrorKind::bad_input, "{}: {} bytes after the last tensor belong to nothing; the file is damaged", what,
         size - at);
}

void check_size(const SafetensorsEntry& e, std::string_view what) {
  const std::string tensor = fmt::format("{}: the tensor {}", what, in_quotes(e.name));
  const int64_t elements = elements_of_stored_shape(e.shape, tensor);
  const int64_t bits = checked_mul<int64_t>(elements, bits_of(e.dtype), tensor);
  if (bits % 8 != 0)
    fail(ErrorKind::bad_input, "{} has {} elements of {}, which do not fill whole bytes", tensor, elements,
         name_of(e.dtype));
  if (e.begin > e.end) fail(ErrorKind::bad_input, "{} begins at {} and ends before, at {}", tensor, e.begin, e.end);
  if (e.end - e.begin != static_cast<uint64_t>(bits / 8))
    fail(ErrorKind::bad_input, "{} needs {} bytes for its shape and the dtype {}, but its data_offsets span {}", tensor,
         bits / 8, name_of(e.dtype), e.end - e.begin);
}

bool begins_like_one(std::span<const std::byte> file) {
  uint64_t length = 0;
  if (file.size() < 9) return false;
  std::memcpy(&length, file.data(), 8);
  return length <= file.size() - 8 && file[8] == std::byte{'{'};
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view what) {
  if (!begins_like_one(file)) refuse_stand_in(what, "no safetensors file", file);
  if (file.size() < 8)
    fail(ErrorKind::bad_input, "{} has {} bytes; a safetensors file begins with 8 bytes of header length", what,
         file.size());
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > kSafetensorsHeaderLimit)
    fail(ErrorKind::bad_input,
         "{} claims a header of {} bytes; at most {} are allowed: not a safetensors file, or "
         "damaged",
         what, length, kSafetensorsHeaderLimit);
  if (length > file.size() - 8)
    fail(ErrorKind::bad_input,
         "{} claims a header of {} bytes, but only {} follow; the file is cut short: download it "
         "again",
         what, length, file.size() - 8);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  const std::string header_of = fmt::format("the header of {}", what);
  if (!text.starts_with('{')) fail(ErrorKind::bad_input, "{} does not begin with '{{'; it is damaged", header_of);

  HeaderHandler handler(header_of);
  handler.parse(text);
  SafetensorsHeader header = handler.take();
  for (const SafetensorsEntry& e : header.entries) check_size(e, what);
  check_offsets(header.entries, file.size() - 8 - length, what);
  for (SafetensorsEntry& e : header.entries) {
    e.begin += 8 + length;
    e.end += 8 + length;
  }
  return header;
}

}  // namespace kerf
