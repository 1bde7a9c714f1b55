// A thin view on a safetensors Reader: rows are found by arithmetic, converted piece by piece, and released.
#include "formats/checkpoint.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "formats/safetensors.h"
#include "formats/text.h"

namespace kerf {
namespace {

// A page fault on a mapped file brings in 16 pages of 4 KiB (Linux's fault-around): below that, releasing gains
// nothing.
constexpr size_t kReleaseBytes = 64 << 10;
// So large a piece is converted and released at a time: a tensor of any size adds no more than this to resident memory.
constexpr int64_t kPieceElements = 1 << 20;

class Checkpoint final : public TensorSource {
 public:
  explicit Checkpoint(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {
    for (const StoredTensor& t : reader_->tensors()) {
      const auto dtype = dtype_from_name(t.type);
      if (!dtype) fail(ErrorKind::internal, "the reader let the dtype {} pass", in_quotes(t.type));
      infos_.push_back({.name = t.name, .dtype = *dtype, .shape = t.shape});
    }
    for (size_t i = 0; i < infos_.size(); ++i) index_.emplace(infos_[i].name, i);
  }

  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &infos_[it->second];
  }

  void read(const TensorInfo& wanted, int64_t row_begin, std::span<float> out) const override {
    const auto it = index_.find(wanted.name);
    if (it == index_.end())
      fail(ErrorKind::internal, "{} has no tensor {}", reader_->path().string(), in_quotes(wanted.name));
    const TensorInfo& t = infos_[it->second];
    const int64_t cols = t.cols(), wanted_elements = static_cast<int64_t>(out.size());
    if (row_begin < 0 || row_begin > t.rows() || (cols == 0 ? wanted_elements != 0 : wanted_elements % cols != 0) ||
        (cols != 0 && wanted_elements / cols > t.rows() - row_begin))
      fail(ErrorKind::internal, "{} elements from row {} of {} were asked for, which has {} rows of {}", out.size(),
           row_begin, in_quotes(t.name), t.rows(), cols);
    const int bits = bits_of(t.dtype);
    if (bits % 8 != 0)
      fail(ErrorKind::unsupported, "{}: the tensor {} has the dtype {}, which cannot be read as numbers here",
           reader_->path().string(), in_quotes(t.name), name_of(t.dtype));
    const size_t size = static_cast<size_t>(bits / 8);
    auto bytes =
        reader_->tensors()[it->second].bytes.subspan(static_cast<size_t>(row_begin * cols) * size, out.size() * size);
    while (!out.empty()) {
      const size_t n = std::min(out.size(), static_cast<size_t>(kPieceElements));
      to_f32(t.dtype, bytes.first(n * size), out.first(n));
      if (n * size >= kReleaseBytes) reader_->release(bytes.first(n * size));
      bytes = bytes.subspan(n * size);
      out = out.subspan(n);
    }
  }

 private:
  std::unique_ptr<Reader> reader_;
  std::vector<TensorInfo> infos_;
  std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace

std::unique_ptr<TensorSource> open_checkpoint(const std::filesystem::path& path) {
  return std::make_unique<Checkpoint>(open_safetensors(path));
}

}  // namespace kerf
