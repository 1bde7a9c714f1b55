// `kerf repack`: the same numbers in another layout.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/plan/plan.h"
#include "pipeline/repository/publication.h"
#include "targets/target.h"
#include "verify/artifact.h"

namespace kerf {

struct RepackOptions {
  std::string packed;  // a quantized repository or a GGUF file
  std::string target;  // NAME, whose scheme is then the one that holds the numbers, or NAME:SCHEME
  std::filesystem::path out;
  std::string dtype;         // of the model around the packed weights; "": one that holds the same numbers
  bool force = false;        // write into a folder that is not empty
  uint64_t shard_bytes = 0;  // of one file; 0: 5 GB of safetensors, GGUF in one file
};

struct Repacked {
  std::string from;     // the format that was read
  TargetChoice choice;  // what was written
  int64_t matrices = 0;
  std::vector<std::filesystem::path> files;  // where they lie now; weights first
};

/// Moves codes, scales and zero points of every packed matrix, bit for bit; what is not packed stays as it is. Error
/// unsupported, with the matrix and the reason, where the other layout cannot hold the same numbers: other widths,
/// groups that its runtime does not take, scales or plain numbers that would be rounded, zero points that it cannot
/// store. Where the model's own dtype does not hold the scales (those of GPTQ and AWQ are F16, those of
/// compressed-tensors have the model's dtype), the model is written in another that holds every number, and a note says
/// so. The files are staged, read again and compared with the source, and published with a card and a report of
/// their own (pipeline/repository/publication.h); errors leave what was there before.
Repacked repack(const RepackOptions&);

/// A GGUF file becomes one again, split or joined as asked: tensors and keys in their order, every matrix packed from
/// its codes and parameters. Error unsupported for another target, or when bytes would not come out the same. For
/// repack().
Repacked repack_gguf(const RepackOptions&, const Artifact&);

// What both have in common.
struct StagedRepack {
  const Artifact& source;
  const TargetPlan& plan;
  Publication& publication;
  Writer& writer;  // everything is written, nothing committed
};
/// Commits, adds companions, calls `compare` with the model read back from the staged bytes, writes card and report,
/// publishes. `compare` throws when a number is another.
void publish_repacked(const StagedRepack&, const std::function<void(const Artifact&)>& compare, Repacked&);
/// A publication for the one repository of a plan, checked and begun.
std::unique_ptr<Publication> begin_repack(const RepackOptions&, const Artifact& source, const TargetPlan&);

}  // namespace kerf
