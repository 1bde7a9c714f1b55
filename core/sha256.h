// SHA-256 in hexadecimal, as `sha256sum` and the hub print it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace kerf {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(std::span<const std::byte>);
  /// Of everything given; nothing may follow.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_of_text(std::string_view);
/// Of a whole file. Error io.
std::string sha256_of(const std::filesystem::path&);

/// Of a file while its parts are written, in any order and from any thread. A thread that has written hashes what now
/// lies gapless behind the part that is hashed already, unless another thread is at it: the bytes are still in some
/// cache, nobody waits, and at the end little is left to do.
class RunningSha256 {
 public:
  /// Reads back what was written.
  using ReadBack = std::function<void(uint64_t offset, std::span<std::byte>)>;
  explicit RunningSha256(ReadBack read_back) : read_back_(std::move(read_back)) {}

  /// These bytes are in the file now. Each byte once.
  void wrote(uint64_t offset, std::span<const std::byte>);
  /// When all parts are there. Error internal when they are not the bytes [0, size).
  std::string finish(uint64_t size);

 private:
  void hash_back(uint64_t begin, uint64_t end);

  ReadBack read_back_;
  Sha256 sum_;  // of [0, hashed_); only the thread that has set busy_ touches it
  std::mutex guard_;
  uint64_t hashed_ = 0;
  bool busy_ = false;
  std::map<uint64_t, uint64_t> waiting_;  // begin -> end of parts written and not hashed
};

}  // namespace kerf
