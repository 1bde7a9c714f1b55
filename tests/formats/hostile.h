// What the attack tests share: files made byte by byte, and the Error that must come back.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/data.h"

namespace kerf::test {

/// Calls `act`, which must throw an Error of this kind whose sentence contains every one of `words`.
inline void expect_error(ErrorKind kind, std::initializer_list<std::string_view> words,
                         const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    for (std::string_view w : words)
      EXPECT_NE(std::string_view(e.what()).find(w), std::string_view::npos) << e.what() << "\nlacks: " << w;
    return;
  }
  ADD_FAILURE() << "no Error was thrown";
}

/// Without the flush to disk that write_text waits for, or that file systems begin when a file is cut to nothing first.
inline void put_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
std::string raw(T v) {
  std::string s(sizeof(T), '\0');
  std::memcpy(s.data(), &v, sizeof(T));
  return s;
}

/// A safetensors file of this header and data.
inline std::string safetensors_bytes(std::string_view json, std::string_view data) {
  return raw(uint64_t{json.size()}) + std::string(json) + std::string(data);
}

inline std::string gguf_string(std::string_view s) { return raw(uint64_t{s.size()}) + std::string(s); }
inline std::string gguf_key(std::string_view key, uint32_t type, std::string_view value) {
  return gguf_string(key) + raw(type) + std::string(value);
}
inline std::string gguf_tensor(std::string_view name, std::initializer_list<uint64_t> fastest_first, uint32_t type,
                               uint64_t offset) {
  std::string s = gguf_string(name) + raw(static_cast<uint32_t>(fastest_first.size()));
  for (uint64_t d : fastest_first) s += raw(d);
  return s + raw(type) + raw(offset);
}
/// A GGUF file; what is not said is as it should be.
struct GgufFile {
  uint32_t version = 3;
  uint64_t tensor_count = 0, key_count = 0;
  std::string keys, tensors, data;
  size_t alignment = 32;

  GgufFile& key(std::string_view name, uint32_t type, std::string_view value) {
    keys += gguf_key(name, type, value);
    ++key_count;
    return *this;
  }
  GgufFile& tensor(std::string_view name, std::initializer_list<uint64_t> fastest_first, uint32_t type,
                   uint64_t offset) {
    tensors += gguf_tensor(name, fastest_first, type, offset);
    ++tensor_count;
    return *this;
  }
  std::string bytes() const {
    std::string s = "GGUF" + raw(version) + raw(tensor_count) + raw(key_count) + keys + tensors;
    s.resize((s.size() + alignment - 1) / alignment * alignment, '\0');
    return s + data;
  }
};

}  // namespace kerf::test
