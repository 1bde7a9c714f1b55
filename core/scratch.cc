#include "core/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace kerf {
namespace {

uint64_t bytes_of_floats(int64_t n) { return static_cast<uint64_t>(n) * sizeof(float); }

// A file without a name, open for reading and writing.
int nameless_file(const std::filesystem::path& folder) {
  int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  // Some file systems have no O_TMPFILE.
  std::string name = (folder / ".kerf-scratch-XXXXXX").string();
  fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd >= 0) unlink(name.c_str());
  return fd;
}

// The room is taken beforehand: a page that finds the disk full while it is written ends the process with a signal.
float* map_file(const std::filesystem::path& folder, uint64_t bytes) {
  const int fd = nameless_file(folder);
  if (fd < 0)
    fail(ErrorKind::io, "no file for activations beyond --memory can be made in {}: {}", folder.string(),
         std::strerror(errno));
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  void* p = error ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int reason = error ? error : errno;
  close(fd);
  if (p == MAP_FAILED)
    fail(ErrorKind::io,
         "{} takes no {} bytes of activations beyond --memory: {}; make room there, raise --memory, or give fewer "
         "--calib-windows",
         folder.string(), bytes, std::strerror(reason));
  return static_cast<float*>(p);
}

}  // namespace

Scratch::Scratch(uint64_t limit, std::filesystem::path folder) : limit_(limit), folder_(std::move(folder)) {}

ScratchArray Scratch::floats(int64_t n) {
  ScratchArray a;
  const uint64_t bytes = bytes_of_floats(n);
  a.mapped_ = bytes > 0 && bytes > limit_ - std::min(limit_, in_memory_);
  a.data_ = a.mapped_ ? map_file(folder_, bytes) : new float[static_cast<size_t>(n)];
  a.size_ = n;
  a.owner_ = this;
  (a.mapped_ ? in_files_ : in_memory_) += bytes;
  return a;
}

ScratchArray::~ScratchArray() {
  if (!data_) return;
  const uint64_t bytes = bytes_of_floats(size_);
  if (mapped_)
    munmap(data_, bytes);
  else
    delete[] data_;
  (mapped_ ? owner_->in_files_ : owner_->in_memory_) -= bytes;
}

ScratchArray::ScratchArray(ScratchArray&& o) noexcept
    : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)), mapped_(o.mapped_), owner_(o.owner_) {}

ScratchArray& ScratchArray::operator=(ScratchArray&& o) noexcept {
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  std::swap(mapped_, o.mapped_);
  std::swap(owner_, o.owner_);
  return *this;
}

void ScratchArray::leave(int64_t first, int64_t count) const {
  if (!mapped_) return;
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (bytes_of_floats(first) + page - 1) / page * page;
  const uint64_t end = first + count == size_ ? bytes_of_floats(size_) : bytes_of_floats(first + count) / page * page;
  if (end > begin) madvise(reinterpret_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace kerf
