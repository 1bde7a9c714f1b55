// Importance matrices of llama.cpp: for each matrix of a model the sum of the squares of its inputs, channel by
// channel. Two formats: a GGUF file, and the older binary one:
//   GGUF    general.type "imatrix"; for each matrix NAME the F32 tensors NAME.in_sum2 [1, channels] and NAME.counts [1,
//   1]
//           (tokens); imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size
//   legacy  i32 entries; each: i32 length and bytes of NAME, i32 calls, i32 channels, f32 sums; then i32 chunks, i32
//   length and
//           bytes of the dataset, which may be missing. Sums are scaled to the calls (chunks), not to tokens.
// NAME is a tensor's in GGUF: "blk.0.attn_q.weight".
// Source: common/imatrix-loader.cpp, tools/imatrix/imatrix.cpp of llama.cpp v0.5.0.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kerf {

struct ImatrixEntry {
  std::vector<float> sums;  // one per input channel, finite, at least 0
  int64_t count = 1;        // sums[c] / count is the mean square of channel c; 0: no token came to the matrix
  bool operator==(const ImatrixEntry&) const = default;
};

struct Imatrix {
  std::map<std::string, ImatrixEntry> entries;
  int64_t chunks = 0, chunk_tokens = 0;  // 0 where the file does not say
  std::vector<std::string> datasets;     // names of the texts
  bool operator==(const Imatrix&) const = default;
};

enum class ImatrixFormat { gguf, legacy };

/// Reads either. Error bad_input for a file that is neither, is damaged, or holds no entry, no count, or numbers that
/// no sum of squares can be (each named); unsupported for entries of several experts; io as the system says.
Imatrix read_imatrix(const std::filesystem::path&);
/// The whole file or none. In the legacy format counts become calls of chunk_tokens tokens. Error internal when empty.
void write_imatrix(const std::filesystem::path&, const Imatrix&, ImatrixFormat);

}  // namespace kerf
