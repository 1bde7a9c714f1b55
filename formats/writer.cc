// Placement decides where each tensor goes; the Writer only counts bytes, so that a hole can never be committed.
#include <algorithm>
#include <array>

#include "core/checked.h"
#include "formats/container.h"
#include "formats/text.h"

namespace kerf {

Writer::Writer(const FilePlan& plan, Placement placement)
    : placement_(std::move(placement)), targets_(plan.tensors.size()) {
  if (placement_.places.size() != targets_.size())
    fail(ErrorKind::internal, "{} tensors were planned and {} were placed", targets_.size(), placement_.places.size());
  for (size_t i = 0; i < targets_.size(); ++i) {
    targets_[i].name = plan.tensors[i].name;
    targets_[i].bytes = plan.tensors[i].bytes;
  }
  for (const Placement::File& f : placement_.files) {
    files_.push_back(std::make_unique<OpenFile>(f.path));
    files_.back()->write_at(0, as_bytes(f.header));
  }
  write_pads();
}

void Writer::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
  if (tensor >= targets_.size())
    fail(ErrorKind::internal, "tensor {} was written, but only {} were planned", tensor, targets_.size());
  Target& t = targets_[tensor];
  if (offset > t.bytes || bytes.size() > t.bytes - offset)
    fail(ErrorKind::internal, "{} bytes at {} of the tensor {} were written, but it has {}", bytes.size(), offset,
         in_quotes(t.name), t.bytes);
  const Placement::Place& place = placement_.places[tensor];
  files_[place.file]->write_at(place.offset + offset, bytes);
  t.written += bytes.size();
}

// What lies between tensors is written too, so that a full disk is noticed before the rename; and first, so that
// nothing but tensors is missing in the running checksums.
void Writer::write_pads() {
  std::vector<std::vector<std::pair<uint64_t, uint64_t>>> used(files_.size());  // [begin, end) per file
  for (size_t i = 0; i < targets_.size(); ++i) {
    const Placement::Place& p = placement_.places[i];
    used[p.file].emplace_back(p.offset, p.offset + targets_[i].bytes);
  }
  static constexpr std::array<std::byte, 4096> kZeros{};
  for (size_t f = 0; f < files_.size(); ++f) {
    std::sort(used[f].begin(), used[f].end());
    used[f].emplace_back(placement_.files[f].size, placement_.files[f].size);
    uint64_t at = placement_.files[f].header.size();
    for (const auto& [begin, end] : used[f]) {
      if (begin < at)
        fail(ErrorKind::internal, "two parts of {} were placed on byte {}", placement_.files[f].path.string(), begin);
      while (at < begin) {
        const uint64_t n = std::min<uint64_t>(begin - at, kZeros.size());
        files_[f]->write_at(at, std::span(kZeros).first(n));
        at += n;
      }
      at = end;
    }
  }
}

std::vector<std::filesystem::path> Writer::commit() {
  for (const Target& t : targets_)
    if (t.written != t.bytes)
      fail(ErrorKind::internal, "{} of the {} bytes of the tensor {} were written", t.written.load(), t.bytes,
           in_quotes(t.name));
  std::vector<std::filesystem::path> paths;
  std::unique_ptr<AtomicFile> index;
  if (placement_.index) {
    index = std::make_unique<AtomicFile>(*placement_.index);
    index->append(as_bytes(placement_.index_text));
    Sha256 sum;
    sum.update(as_bytes(placement_.index_text));
    checksums_[*placement_.index] = sum.finish();
  }
  for (size_t f = 0; f < files_.size(); ++f) {
    checksums_[placement_.files[f].path] = files_[f]->sum.finish(placement_.files[f].size);
    files_[f]->file.commit();
    paths.push_back(placement_.files[f].path);
  }
  if (index) {
    index->commit();
    paths.push_back(*placement_.index);
  }
  return paths;
}

uint64_t Writer::total_bytes() const {
  uint64_t n = placement_.index_text.size();
  for (const Placement::File& f : placement_.files) n += f.size;
  return n;
}

}  // namespace kerf
