// The safetensors container: u64 header length, a JSON header, then the tensors' bytes.
//
//   {"__metadata__": {"format": "pt"}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
//
// Offsets count from the end of the header; together they cover the rest of the file once, without holes. The header is
// at most 100 MB, begins with '{' and may end in spaces. Elements are little-endian, rows first.
// Source: the format section of the safetensors README and its reference implementation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "formats/container.h"

namespace kerf {

constexpr uint64_t kSafetensorsHeaderLimit = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // from the start of the file
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the header
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// Reads and checks the header of a whole file. `what` names the file in sentences. Error bad_input for anything that
/// breaks the rules above, unsupported for an unknown dtype.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view what);

/// tensor name → file name, from a model.safetensors.index.json. Error bad_input for damaged JSON, a tensor named
/// twice, or a file name that leads out of the folder.
std::vector<std::pair<std::string, std::string>> parse_safetensors_index(std::string_view json, std::string_view what);

/// Opens a .safetensors file, a .safetensors.index.json, or a folder that holds model.safetensors, its index, or just
/// one .safetensors file, looked for in this order. Shards may be in any order; they must hold what the index says, and
/// what they hold besides is left out where the index names another shard for it, with a note. Error io for a missing
/// file, bad_input for a tensor that is in two shards or not where the index says.
std::unique_ptr<Reader> open_safetensors(const std::filesystem::path&);

/// Writes to a folder (model.safetensors), or to a file by its name (NAME.safetensors). When the plan needs more than
/// one shard: NAME-00001-of-0000N.safetensors and NAME.safetensors.index.json. Tensors are cut into shards in the order
/// of the plan; inside a shard those with larger elements come first, as readers that map files need.
/// Metadata must be strings.
/// place_safetensors() says what that will be without writing; there a path that does not end in .safetensors is a
/// folder.
Placement place_safetensors(const std::filesystem::path&, const FilePlan&);
std::unique_ptr<Writer> create_safetensors(const std::filesystem::path&, const FilePlan&);

}  // namespace kerf
