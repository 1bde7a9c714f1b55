// Choosing the columns of a matrix one after the other while the columns not yet chosen make up for the errors so far:
// what GPTQ and its kin share with SparseGPT. Rows are independent and travel in panels of kRowsPerPanel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "solver/factor.h"
#include "solver/feedback.h"
#include "solver/hessian.h"

namespace kerf {

/// The columns of a matrix in whole parts of sizes[0] by falling sum of the Hessian's diagonal, inside of each those of
/// sizes[1] likewise, and so on; inside of the last as they are stored, like what is left over where a part does not
/// divide, which comes last. Each size is a multiple of the next. What weighs most is chosen first, while there are the
/// most columns to make up for its errors.
std::vector<int64_t> falling_order(const Hessian&, std::span<const int64_t> sizes);

/// Columns of one panel whose stand-ins are chosen together. target, q and f hold `size` columns of kRowsPerPanel
/// floats, one after the other and aligned to 64 bytes.
struct ColumnGroup {
  int64_t begin = 0, size = 0;  // in the order of the pass
  /// Columns from `begin` on for which target and u can be read: at least `size`, and in the first pass up to the next
  /// multiple of ErrorFeedback's `outer`.
  int64_t ahead = 0;
  /// Which column of the matrix each of these is.
  const int64_t* columns = nullptr;
  /// Where the squared error of the outputs would be smallest, with all columns outside of the group best or fixed.
  /// That of the group may be overwritten.
  float* target = nullptr;
  /// U [ahead, ahead] upper triangular, `stride` floats between rows: the squared output error of q is, per row and up
  /// to a constant, |f|^2 with f_k = (t_k - q_k) / U[k, k], where t starts as the target and each f_k is fed back: t_j
  /// -= f_k U[k, j] for j > k.
  const float* u = nullptr;
  int64_t stride = 0;
  /// H[group, group] + damping I, `h_stride` floats between rows and without the damping on its diagonal, which is
  /// apart. Only in refining passes.
  const float* h = nullptr;
  int64_t h_stride = 0;
  float damping = 0;
  /// What q must beat: |f|^2 of the present values, per row (infinite in the first pass).
  const float* best = nullptr;
  /// To be written: the values q, and f as above. In a refining pass rows that are left alone keep q as it comes in,
  /// and f is not read.
  float* q = nullptr;
  float* f = nullptr;
};

/// Called for the column groups of a panel, one after the other.
using ChooseColumns = std::function<void(const ColumnGroup&)>;

class PanelPass;

class ErrorFeedback {
 public:
  /// Cuts n columns into groups of `group` columns (the last may be shorter), which stand together in `outer` columns,
  /// a multiple. The first pass takes columns in `order`, which keeps the columns of both together, or as they are
  /// stored. `relative` as in factorize(). With `refine` also what refining passes need. The Hessian is not copied: it
  /// must stay where it is and as it is. Errors as factorize().
  ErrorFeedback(const Hessian&, double relative, int64_t group, int64_t outer, bool refine,
                std::vector<int64_t> order = {});
  ErrorFeedback(const Hessian&&, double, int64_t, int64_t, bool, std::vector<int64_t> = {}) = delete;

  const Factor& factor() const { return factor_; }  // in the order of the first pass
  /// Columns between two products, whole groups; the last block may be shorter.
  int64_t blocks() const { return static_cast<int64_t>(block_u_.size()); }
  int64_t block_begin(int64_t block) const { return block * block_; }
  int64_t block_size(int64_t block) const { return std::min(block_, h_.n - block * block_); }
  /// U of a block, [block_size, block_size], as in ColumnGroup.
  const float* block_u(int64_t block) const { return block_u_[static_cast<size_t>(block)].data(); }

  /// First pass over w [rows, n], rows <= kRowsPerPanel: afterwards e [rows, n] = w - q.
  void choose(std::span<const float> w, int64_t rows, std::span<float> e, const ChooseColumns&) const;
  /// A pass that improves on q = w - e, group by group with all others as they are; updates e. The objective never
  /// rises when the caller keeps to ColumnGroup::best.
  void refine(std::span<const float> w, int64_t rows, std::span<float> e, const ChooseColumns&) const;

 private:
  friend class PanelPass;

  const Hessian& h_;
  int64_t group_, block_;                // block_: columns between two products, whole groups
  std::vector<int64_t> stored_, order_;  // of refining passes and the first: column k of a pass is column order_[k]
  Factor factor_;
  std::vector<std::vector<float>> block_u_;        // of each block, for the first pass
  std::vector<std::vector<float>> group_u_;        // of each group, for refining
  std::vector<std::vector<float>> group_inverse_;  // -inverse(H[group, group] + damping I)
};

/// Columns of kRowsPerPanel floats, zero at first.
class PanelColumns {
 public:
  explicit PanelColumns(int64_t columns);
  float* column(int64_t k) { return data_.get() + k * kRowsPerPanel; }
  const float* column(int64_t k) const { return data_.get() + k * kRowsPerPanel; }

 private:
  struct Free {
    void operator()(float*) const;
  };
  std::unique_ptr<float[], Free> data_;
};

/// The first pass over one panel, block by block: ErrorFeedback::choose() for callers whose choice in a block depends
/// on what all panels have there. Each block in turn is begun and then chosen; at the end errors() says w - q.
class PanelPass {
 public:
  /// w [rows, n], rows <= kRowsPerPanel, is copied; the ErrorFeedback is not.
  PanelPass(const ErrorFeedback&, std::span<const float> w, int64_t rows);

  void begin_block(int64_t block);
  /// Of the block that was begun, before its first column is chosen.
  const PanelColumns& target() const { return target_; }
  void choose_block(const ChooseColumns&);
  /// e [rows, n], columns as they are stored.
  void errors(std::span<float> e) const;

 private:
  const ErrorFeedback& of_;
  const int64_t rows_;
  int64_t block_ = 0;
  std::vector<float> w_, e_;  // [rows, n], columns in the order of the pass
  PanelColumns target_, sums_, q_, f_;
};

}  // namespace kerf
