// Named arrays that a run leaves for --resume: safetensors of kerf's own, written whole and read back only when their
// checksum agrees. They lie beside the output for days, and anybody may have touched them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container.h"
#include "grids/quantized_matrix.h"

namespace kerf {

/// Collects arrays, which must stay, and writes them into a folder: FOLDER/model.safetensors with its SHA-256.
class SavedArrays {
 public:
  void add(std::string name, std::string_view type, std::vector<int64_t> shape, std::span<const std::byte> bytes);
  void add(std::string name, std::span<const float> values);
  /// NAME:codes, NAME:0, NAME:1 ... (parameters).
  void add(const std::string& name, const QuantizedMatrix&);
  /// Error io.
  void write(const std::filesystem::path& folder, Metadata) const;

 private:
  std::vector<StoredTensor> tensors_;
};

/// Error bad_input, with the folder to remove, for what is no such file.
std::unique_ptr<Reader> open_saved(const std::filesystem::path& file);
/// The same when the content is not what was saved.
void check_saved(const Reader&);
/// That error for another reason.
[[noreturn]] void refuse_saved(const std::filesystem::path& file, std::string_view what);
/// Bytes of an array, which must be so many; an array of float32.
std::span<const std::byte> saved_bytes(const Reader&, const std::string& name, size_t size);
/// Codes and parameters of a matrix become those that were saved under this name; its scheme and shape stay. Codes that
/// the scheme does not have are refused.
void load_saved(const Reader&, const std::string& name, QuantizedMatrix&);
std::vector<float> saved_floats(const Reader&, const StoredTensor&);

}  // namespace kerf
