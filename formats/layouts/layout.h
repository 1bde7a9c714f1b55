// A layout says which bytes hold a quantized matrix. It knows nothing of how codes were chosen or of files.
//
// One file per layout, layout_<name>.cc. The table-driven tests check every layout in the table on every scheme that it
// lists: unpack(pack(q)) == q, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grids/quantized_matrix.h"

namespace kerf {

/// One tensor of a packed matrix. Its name is the site's checkpoint name with ".weight" replaced by "." + suffix.
struct LayoutTensor {
  std::string suffix;          // "weight", "weight_packed", ...
  std::string type;            // as the container spells it: "Q4_0", "I32"
  std::vector<int64_t> shape;  // slowest first
  uint64_t bytes = 0;
  uint64_t row_bytes = 0;  // bytes that one row of the matrix takes here, row after row; 0 for a constant, a layout
                           // that packs whole matrices, and schemes whose rows share parameters
  std::vector<std::byte> constant = {};  // the whole content, when it follows from the scheme and the shape alone

  bool is_constant() const { return !constant.empty(); }
};

class Layout {
 public:
  virtual ~Layout() = default;
  virtual std::string_view name() const = 0;
  /// Schemes to be tested with this layout, one of every kind that it can hold.
  virtual std::vector<Scheme> examples() const = 0;
  /// The rule that this scheme or shape breaks, as a sentence with the choices; nullopt when the layout can hold it.
  virtual std::optional<std::string> refuses(const Scheme&, int64_t rows, int64_t cols) const = 0;
  /// The tensors of a [rows, cols] matrix, announced before the first weight is read. Needs !refuses.
  virtual std::vector<LayoutTensor> plan(const Scheme&, int64_t rows, int64_t cols) const = 0;
  /// True when a row has no bytes of its own (formats that pack along the inputs, outputs side by side): pack() then
  /// takes whole matrices only.
  virtual bool packs_whole_matrices(const Scheme&) const { return false; }
  /// The bytes of each planned tensor for the rows of q, which may be some of the matrix; empty for a constant.
  virtual std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const = 0;
  /// plan(), compared with the lengths of what is to be unpacked: Error bad_input when they differ.
  std::vector<LayoutTensor> expect(const Scheme&, int64_t rows, int64_t cols,
                                   std::span<const std::span<const std::byte>> tensors) const;
  /// The reverse, for whole rows. Error bad_input when the bytes are not as many as the shape needs.
  virtual QuantizedMatrix unpack(const Scheme&, int64_t rows, int64_t cols,
                                 std::span<const std::span<const std::byte>> tensors) const = 0;
};

std::span<const Layout* const> all_layouts();
/// Error internal when there is none.
const Layout& find_layout(std::string_view name);

}  // namespace kerf
