// Opening what is measured and filling in the results: what compress, verify and eval share.
#pragma once

#include <map>
#include <optional>
#include <span>

#include "pipeline/report/report.h"
#include "targets/target.h"
#include "verify/artifact.h"

namespace kerf {

/// A packed artifact and what it is meant for.
struct Measured {
  Artifact artifact;
  TargetChoice choice;
  std::vector<std::filesystem::path> files;                     // all that belong to it, weights first
  std::map<std::filesystem::path, std::string> checksums = {};  // of those whose SHA-256 is known already
};

/// A model that is measured beside the packed ones, in float32.
struct MeasuredBeside {
  const Artifact* model;
  std::optional<Verification>* result;
};

/// Sizes, checksums, and with windows the comparison with the reference, on those of a second text too; then the gate,
/// which the second text has no part in. File names are given relative
/// to `root`.
std::vector<TargetResult> measure(const Artifact& reference, std::span<const Measured>, const std::optional<Windows>&,
                                  VerifyMode, const std::string& gate, const std::filesystem::path& root,
                                  const std::optional<MeasuredBeside>& beside = std::nullopt,
                                  const std::optional<Windows>& second = std::nullopt);

/// The target that an artifact's format is made for, with its scheme: the mixture that a GGUF file says it is, else
/// what most of its block weights are in.
TargetChoice target_of(const Artifact&);

}  // namespace kerf
