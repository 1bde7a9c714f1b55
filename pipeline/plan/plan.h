// What a run will write for one target, decided before the first weight is read: how every tensor is stored, under
// which name, in which order. Packing only executes it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/container.h"
#include "model/arch/architecture.h"
#include "pipeline/plan/recipe.h"
#include "prune/sparsity.h"
#include "targets/target.h"

namespace kerf {

struct PlannedMatrix {
  Site site;
  Storage storage;
  std::string scheme;                // canonical: the target's, or an override's
  std::string method;                // an override's; "": that of the run
  std::optional<Sparsity> sparsity;  // what of it becomes zero (masks.h); nothing: it is not pruned
  std::vector<LayoutTensor> parts;   // one for plain numbers
  std::vector<size_t> file_tensors;  // of each part, in TargetPlan::file
  std::vector<int64_t> source_row;   // row r of the file is row source_row[r] of the checkpoint; empty: the same
  int64_t row_group = 1;             // rows move inside of groups of so many
};

/// A norm or a bias.
struct PlannedVector {
  std::string name;  // the checkpoint's tensor
  int64_t size = 0;
  Dtype dtype = Dtype::f32;
  size_t file_tensor = 0;
  std::vector<int64_t> source_row;  // as above, of a bias
  float plus = 0;                   // the value is the stored number plus this
};

/// A tensor that follows from the architecture alone.
struct PlannedConstant {
  size_t file_tensor = 0;
  std::vector<std::byte> bytes;
};

/// A choice with what its scheme leaves open decided for this model, and what to say of it: groups of 128 are the
/// default, and where they do not divide every input width of the blocks the largest smaller ones that do. "" when
/// there is nothing to say.
struct FittedChoice {
  TargetChoice choice;
  std::string note;
};
FittedChoice fitted(const TargetChoice&, const Architecture&);

struct TargetPlan {
  TargetChoice choice;
  std::string file_name;  // of a single file; "" where the container names its files. With file.metadata and
                          // file.shard_bytes it is left to complete() (pipeline/repository/repository.h)
  FilePlan file;
  std::vector<PlannedMatrix> matrices;  // embedding and head (layer -1) first, then the blocks in order
  std::vector<PlannedVector> vectors;
  std::vector<PlannedConstant> constants;
  std::vector<std::string> remarks;
  Dtype dtype = Dtype::f32;  // the model's in these files: Architecture::dtype of what was planned

  uint64_t bytes() const;  // of all tensors
  /// The scheme that most weights have: the choice's own, but for one that leaves all to overrides.
  std::string usual_scheme() const;
  /// A hash of every decision above, metadata and row orders included: with the same method and statistics, equal plans
  /// write equal bytes, under equal names, from equal weights. 16 hexadecimal digits.
  std::string hash() const;
};

/// All matrices, as targets describe them to loaders.
std::vector<StoredSite> stored_sites(const TargetPlan&);

/// A matrix as targets see it.
SiteShape shape_of(const Architecture&, const Site&);

/// Error unsupported, with the rule and the choices, when the target cannot take a matrix; with `strict`, also when it
/// can only be stored in another way than the scheme's name says. `name` is the model's, for the file name. Error usage
/// for an override that concerns no matrix of the model, or whose scheme the target does not have. `importance`: codes
/// will be chosen by calibration or an importance matrix.
TargetPlan make_plan(const Architecture&, const TargetChoice&, const std::string& name, bool strict,
                     std::span<const SiteOverride> overrides = {}, bool importance = false);

/// The same with `storage` deciding for each matrix instead of the choice's scheme.
using ChooseStorage = std::function<Storage(const SiteShape&)>;
TargetPlan make_plan(const Architecture&, const TargetChoice&, const std::string& name, bool strict,
                     const ChooseStorage& storage);

}  // namespace kerf
