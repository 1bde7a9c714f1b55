// Large arrays that need not fit into memory: what passes a limit lies in nameless files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>

namespace kerf {

class Scratch;

/// Floats in memory or in a mapped file; used the same way.
class ScratchArray {
 public:
  ScratchArray() = default;
  ~ScratchArray();
  ScratchArray(ScratchArray&&) noexcept;
  ScratchArray& operator=(ScratchArray&&) noexcept;

  float* data() const { return data_; }
  int64_t size() const { return size_; }
  bool in_file() const { return mapped_; }
  /// These floats will not be touched for a while: their pages of a file leave the process, and come back when they
  /// are read. Nothing happens to what lies in memory.
  void leave(int64_t first, int64_t count) const;

 private:
  friend class Scratch;
  float* data_ = nullptr;
  int64_t size_ = 0;
  bool mapped_ = false;
  Scratch* owner_ = nullptr;
};

/// Hands out arrays: in memory while their sum stays within `limit` bytes, else in files of `folder` that have no name,
/// so that nothing is left of them however the process ends. Outlives its arrays. For one thread.
class Scratch {
 public:
  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
  explicit Scratch(uint64_t limit = kNoLimit, std::filesystem::path folder = {});
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// n floats, not initialised. The room of a file is taken at once: Error io when the disk does not have it.
  ScratchArray floats(int64_t n);
  /// Bytes that now lie in files.
  uint64_t in_files() const { return in_files_; }

 private:
  friend class ScratchArray;
  uint64_t limit_, in_memory_ = 0, in_files_ = 0;
  std::filesystem::path folder_;
};

}  // namespace kerf
