// Columns are made 16 at a time, so that their words fill a cache line.
#include "formats/layouts/bitstream.h"

#include <algorithm>
#include <vector>

namespace kerf {
namespace {
constexpr int64_t kLanes = 16;
}

void pack_columns(const uint8_t* codes, int64_t lanes, int64_t n, int bits, std::byte* words) {
  const int64_t height = stream_words(n, bits);
  std::vector<uint32_t> streams(static_cast<size_t>(kLanes * height));
  for (int64_t begin = 0; begin < lanes; begin += kLanes) {
    const int64_t now = std::min(kLanes, lanes - begin);
    for (int64_t l = 0; l < now; ++l) pack_stream(codes + (begin + l) * n, n, bits, streams.data() + l * height);
    for (int64_t j = 0; j < height; ++j)
      for (int64_t l = 0; l < now; ++l)
        std::memcpy(words + (j * lanes + begin + l) * 4, &streams[static_cast<size_t>(l * height + j)], 4);
  }
}

void unpack_columns(const std::byte* words, int64_t lanes, int64_t n, int bits, uint8_t* codes) {
  const int64_t height = stream_words(n, bits);
  std::vector<uint32_t> streams(static_cast<size_t>(kLanes * height));
  for (int64_t begin = 0; begin < lanes; begin += kLanes) {
    const int64_t now = std::min(kLanes, lanes - begin);
    for (int64_t j = 0; j < height; ++j)
      for (int64_t l = 0; l < now; ++l)
        std::memcpy(&streams[static_cast<size_t>(l * height + j)], words + (j * lanes + begin + l) * 4, 4);
    for (int64_t l = 0; l < now; ++l) unpack_stream(streams.data() + l * height, n, bits, codes + (begin + l) * n);
  }
}

void transpose_bytes(const std::byte* from, int64_t rows, int64_t cols, size_t size, std::byte* to) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      std::memcpy(to + static_cast<size_t>(c * rows + r) * size, from + static_cast<size_t>(r * cols + c) * size, size);
}

}  // namespace kerf
