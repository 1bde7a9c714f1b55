// POSIX calls, each checked; a sentence names the file and what the system said.
#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/stand_in.h"

namespace kerf {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

uint64_t regular_size(int fd, const std::filesystem::path& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) fail(ErrorKind::io, "cannot look at {}: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(st.st_mode)) fail(ErrorKind::io, "{} is not a regular file", path.string());
  return static_cast<uint64_t>(st.st_size);
}

int open_for_reading(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(ErrorKind::io, "cannot open {}: {}", path.string(), std::strerror(errno));
  return fd;
}

void read_all(int fd, const std::filesystem::path& path, uint64_t offset, std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t n = ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail(ErrorKind::io, "cannot read {} bytes at {} of {}: {}", to.size(), offset, path.string(),
           n < 0 ? std::strerror(errno) : "the file is shorter");
    to = to.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void refuse_pointer(const std::filesystem::path& path, std::string_view content) {
  if (const std::string what = pointer_in_place_of(content); !what.empty())
    fail(ErrorKind::bad_input, "{} {}", path.string(), what);
}

// A write past the file-size limit of the process must come back as an error, not as a signal.
const bool sigxfsz_ignored = [] {
  std::signal(SIGXFSZ, SIG_IGN);
  return true;
}();

std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

// Names of the partial files that exist now, where a signal handler can find them: nothing there may allocate or lock.
constexpr size_t kMaxPartials = 4096;
std::array<std::atomic<const char*>, kMaxPartials> partials;

void remember_partial(const char* name) {
  for (auto& slot : partials)
    if (const char* free = nullptr; slot.compare_exchange_strong(free, name)) return;
}
void forget_partial(const char* name) {
  for (auto& slot : partials)
    if (const char* mine = name; slot.compare_exchange_strong(mine, nullptr)) return;
}
std::atomic<const RemovedOnSignals::Names*> doomed;
std::atomic<const char*> last_words;

// Plain system calls only: opendir() takes memory.
void remove_tree(int parent, const char* name) {
  const int folder = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder >= 0) {
    alignas(8) char entries[4096];
    for (long n; (n = ::syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0;)
      for (long at = 0; at < n;) {
        // struct linux_dirent64: inode, offset, length, type, name
        uint16_t length;
        std::memcpy(&length, entries + at + 16, sizeof length);
        const char* entry = entries + at + 19;
        at += length;
        if (std::strcmp(entry, ".") == 0 || std::strcmp(entry, "..") == 0) continue;
        if (::unlinkat(folder, entry, 0) != 0) remove_tree(folder, entry);
      }
    ::close(folder);
  }
  ::unlinkat(parent, name, AT_REMOVEDIR);
}

void say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // there is nobody left to tell
}

extern "C" void remove_partials_and_end(int signal) {
  for (auto& slot : partials)
    if (const char* name = slot.load()) ::unlink(name);
  if (const RemovedOnSignals::Names* names = doomed.load()) {
    remove_tree(AT_FDCWD, names->folder.c_str());
    for (const std::filesystem::path& folder : names->empty) ::rmdir(folder.c_str());
  }
  say(progress_line_open() ? "\r\033[Kkerf: stopped" : "kerf: stopped");
  if (const char* words = last_words.load()) {
    say("; ");
    say(words);
  }
  say("\n");
  ::_exit(128 + signal);
}

}  // namespace

void remove_partial_files_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, remove_partials_and_end);
}

SaidOnSignals::SaidOnSignals(std::string sentence)
    : sentence_(std::move(sentence)), before_(last_words.exchange(sentence_.c_str())) {}

SaidOnSignals::~SaidOnSignals() { last_words = before_; }

RemovedOnSignals::RemovedOnSignals(std::filesystem::path folder, std::vector<std::filesystem::path> empty)
    : names_{std::move(folder), std::move(empty)} {
  const Names* none = nullptr;
  doomed.compare_exchange_strong(none, &names_);
}

RemovedOnSignals::~RemovedOnSignals() {
  const Names* mine = &names_;
  doomed.compare_exchange_strong(mine, nullptr);
}

bool exchange(const std::filesystem::path& a, const std::filesystem::path& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // some file systems do not allow it; what was done has succeeded
  ::fsync(fd);
  ::close(fd);
}

FolderLock::FolderLock(const std::filesystem::path& folder)
    : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ >= 0) held_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  Descriptor fd(open_for_reading(path));
  size_ = regular_size(fd.get(), path);
  if (size_ <= 1024) {  // a pointer is not longer
    std::string text(size_, '\0');
    read_all(fd.get(), path, 0, std::as_writable_bytes(std::span(text)));
    refuse_pointer(path, text);
  }
  if (size_ != 0) {
    void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (p == MAP_FAILED) fail(ErrorKind::io, "cannot map {}: {}", path.string(), std::strerror(errno));
    data_ = static_cast<const std::byte*>(p);
  }
  fd_ = fd.release();
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  return *this;
}

void MappedFile::read(std::span<const std::byte> part, std::span<std::byte> to) const {
  read_all(fd_, path_, static_cast<uint64_t>(part.data() - data_), to);
}

void MappedFile::release(std::span<const std::byte> part) const {
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::filesystem::path partial_name(const std::filesystem::path& file) {
  return folder_of(file) / (".kerf-" + file.filename().string() + ".partial");
}

std::filesystem::path writable_file(const std::filesystem::path& name) {
  namespace fs = std::filesystem;
  std::error_code none;
  const bool link = fs::is_symlink(fs::symlink_status(name, none));
  const fs::file_status found = fs::status(name, none);
  if (link && !fs::exists(found))
    fail(ErrorKind::usage, "{} is a link that leads nowhere; remove it, or give another name", name.string());
  if (fs::exists(found) && !fs::is_regular_file(found))
    fail(ErrorKind::usage, "{} is {}, and a file is to be written; give another name", name.string(),
         fs::is_directory(found) ? "a folder" : "a device or a pipe");
  return link ? fs::canonical(name) : name;
}

AtomicFile::AtomicFile(const std::filesystem::path& name) : name_(writable_file(name)), partial_(partial_name(name_)) {
  const auto refuse_if = [&](bool another_writes) {
    if (another_writes)
      fail(ErrorKind::usage, "another run of kerf is writing {}; wait until it is over, or give another name",
           name_.string());
  };
  const auto locked = [](int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; };
  // What lies there may be a link to something that is needed: a new file, not that one emptied. Whoever writes a file
  // holds its lock.
  {
    const Descriptor left(::open(partial_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    refuse_if(left.get() >= 0 && locked(left.get()));
    ::unlink(partial_.c_str());
  }
  Descriptor fd(::open(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (fd.get() < 0) fail(ErrorKind::io, "cannot create {}: {}", name_.string(), std::strerror(errno));
  struct stat mine {
  }, replaced{};
  // Another may have begun between the two calls.
  refuse_if(locked(fd.get()) || ::fstat(fd.get(), &mine) != 0 || mine.st_nlink == 0);
  if (::stat(name_.c_str(), &replaced) == 0) ::fchmod(fd.get(), replaced.st_mode & 0777);
  fd_ = fd.release();
  remember_partial(partial_.c_str());
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(partial_.c_str());
  }
  forget_partial(partial_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  write_at(position_, bytes);
  position_ += bytes.size();
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail(ErrorKind::io, "cannot write {} ({} bytes at {}): {}; nothing was replaced", name_.string(), bytes.size(),
           offset, n < 0 ? std::strerror(errno) : "nothing was written");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void AtomicFile::read_at(uint64_t offset, std::span<std::byte> to) const { read_all(fd_, partial_, offset, to); }

void AtomicFile::commit() {
  const auto refuse = [&](const char* step) {
    const int reason = errno;
    fail(ErrorKind::io, "cannot {} {}: {}; nothing was replaced", step, name_.string(), std::strerror(reason));
  };
  if (fd_ < 0) fail(ErrorKind::internal, "{} was committed twice", name_.string());
  if (::fsync(fd_) != 0 && errno != EINVAL) refuse("flush");
  if (::rename(partial_.c_str(), name_.c_str()) != 0) refuse("rename");
  ::close(std::exchange(fd_, -1));
  sync_folder(folder_of(name_));  // a rename is on disk only when its folder is
}

std::string read_text(const std::filesystem::path& path, uint64_t limit) {
  const Descriptor fd(open_for_reading(path));
  const uint64_t size = regular_size(fd.get(), path);
  if (size > limit) fail(ErrorKind::bad_input, "{} has {} bytes; at most {} are read here", path.string(), size, limit);
  std::string text(size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorKind::io, "cannot read {}: {}", path.string(), std::strerror(errno));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  refuse_pointer(path, text);
  return text;
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.append(as_bytes(text));
  file.commit();
}

}  // namespace kerf
