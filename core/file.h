// Files: read-only mappings, and writing that leaves either the old file or the whole new one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

/// A file mapped read-only. Empty files are allowed. Error io when it cannot be opened or is not a regular file.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path&);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// The same bytes by pread, which maps no pages: cheaper for what is read once, and a file that became shorter is an
  /// Error io instead of a signal. `part` must lie in bytes() and be as long as `to`.
  void read(std::span<const std::byte> part, std::span<std::byte> to) const;
  /// Tells the system that these bytes will not be read again soon, so that mapped pages do not pile up.
  void release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int fd_ = -1;
};

/// The name under which FOLDER/NAME is written until it is complete: FOLDER/.kerf-NAME.partial. Such names are kerf's
/// own: what a process that is gone has left there is replaced.
std::filesystem::path partial_name(const std::filesystem::path&);

/// What a file of that name would be written to: where a link leads, else the name. Error usage when something lies
/// there that is no regular file (a folder, a device, a pipe), or the link leads nowhere.
std::filesystem::path writable_file(const std::filesystem::path&);

/// Writes partial_name(writable_file(NAME)); commit() flushes it to disk and renames it. Destroyed without commit(), it
/// removes the partial file and NAME is as it was. A file that is replaced hands on its mode. Every failed write is an
/// Error io that names the file and the reason.
class AtomicFile {
 public:
  /// Errors of writable_file(); io when the file cannot be created, usage while another writes it.
  explicit AtomicFile(const std::filesystem::path& name);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte>);
  /// Writes at an absolute position, from any thread; does not move the append position.
  void write_at(uint64_t offset, std::span<const std::byte>);
  /// What was written there. Error io, also when there is less.
  void read_at(uint64_t offset, std::span<std::byte>) const;
  uint64_t position() const { return position_; }
  void seek(uint64_t position) { position_ = position; }
  void commit();

 private:
  std::filesystem::path name_, partial_;
  int fd_ = -1;
  uint64_t position_ = 0;
};

/// From now on SIGINT, SIGTERM and SIGHUP remove every partial file of this process, and what RemovedOnSignals names,
/// before it says on stderr that it was stopped, with what SaidOnSignals adds, and ends with 128 + the signal.
void remove_partial_files_on_signals();

/// While it lives, what such a signal says after "kerf: stopped": what is left, and how to go on. Of several the one
/// that was made last counts; they end in the reverse order.
class SaidOnSignals {
 public:
  explicit SaidOnSignals(std::string sentence);
  ~SaidOnSignals();
  SaidOnSignals(const SaidOnSignals&) = delete;
  SaidOnSignals& operator=(const SaidOnSignals&) = delete;

 private:
  std::string sentence_;
  const char* before_;
};

/// While it lives, such a signal also removes this folder with all that is in it, and then those of `empty` that hold
/// nothing, in their order. One at a time in a process; of a second one signals know nothing.
class RemovedOnSignals {
 public:
  RemovedOnSignals(std::filesystem::path folder, std::vector<std::filesystem::path> empty);
  ~RemovedOnSignals();
  RemovedOnSignals(const RemovedOnSignals&) = delete;
  RemovedOnSignals& operator=(const RemovedOnSignals&) = delete;

  struct Names {
    std::filesystem::path folder;
    std::vector<std::filesystem::path> empty;
  };

 private:
  Names names_;
};

/// Two folders of one file system change places in one step, which nobody can see half done. False, with nothing
/// changed, where the system or the file system cannot do that.
bool exchange(const std::filesystem::path&, const std::filesystem::path&);
/// What was renamed, created or removed in that folder is on disk, as far as the file system can say.
void sync_folder(const std::filesystem::path&);

/// Alone in a folder: true while no other process holds it. Another process's hold ends with that process at the
/// latest. File systems that know no locks say true.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path&);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  bool held() const { return held_; }

 private:
  int fd_ = -1;
  bool held_ = true;
};

/// The whole text of a file. Error io when it cannot be read, bad_input when it is longer than `limit` bytes.
std::string read_text(const std::filesystem::path&, uint64_t limit = uint64_t{1} << 31);
void write_text(const std::filesystem::path&, std::string_view text);

inline std::span<const std::byte> as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}

}  // namespace kerf
