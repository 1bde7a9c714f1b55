// What lies in the folder that a runtime loads a model from: which files, how they are called, what they say beside the
// numbers. One file per kind, repository_<name>.cc; targets say by name which kind they load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/plan/plan.h"
#include "pipeline/repository/adapter_files.h"
#include "verify/artifact.h"

namespace kerf {

/// What companions are made from: the model that was read, the plan, the files of weights in `folder` that have been
/// written to it.
struct RepositoryContent {
  const Artifact& source;
  const TargetPlan& plan;
  std::span<const std::filesystem::path> weights;
  std::filesystem::path folder;
};

/// A plug-in. Functions are called from one thread.
struct Repository {
  std::string_view name;       // as targets say it: "huggingface"
  std::string_view container;  // of the weights (formats/container.h)
  uint64_t shard_bytes = 0;    // most bytes of one file of weights when the user asks for nothing; 0: all in one file
  /// `kerf repack` writes every tensor of such a repository again under its own name and type, and changes at most how
  /// many files there are; otherwise it moves the numbers of matrices to another target's layout.
  bool repacks_in_place = false;
  /// Whether --bytes is offered: the types of its matrices can differ one by one.
  bool allocates_bytes = false;

  /// The file of weights of a model; `variant` is a scheme, or a size in words. "" where the container names its files.
  std::string (*weights_name)(const std::string& model, const std::string& variant);
  /// What the files of weights say beside tensors. `scheme` is one of the target's. Error bad_input or unsupported
  /// where the model lacks something that the runtime needs.
  Metadata (*metadata)(const Architecture&, const TokenizerSource&, const std::string& model,
                       const std::string& scheme);
  /// Puts into such metadata what a source of the same container says and an Artifact does not; nullptr: nothing.
  void (*carry_over)(const Artifact& source, Metadata&) = nullptr;
  /// Error unsupported, before anything is packed, when companions cannot be made of this source; nullptr: they can.
  void (*check_source)(const Artifact&) = nullptr;
  /// Writes all files that belong beside the weights, except for the model card and the report. Returns them.
  std::vector<std::filesystem::path> (*write_companions)(const RepositoryContent&);
  /// Writes an adapter for files of weights that are there (adapter_files.h), and what names it beside them.
  std::vector<std::filesystem::path> (*write_adapter)(const AdapterFactors&, const Artifact& packed);
  /// Exact bytes of its files of factors, beside files of weights of this name.
  uint64_t (*adapter_bytes)(const Architecture&, int64_t rank, const std::string& weights);
  /// True when a loader of such a folder would read a file of this name, or kerf writes it there. `weights` is what
  /// weights_name() gave; files of weights under other names are not the repository's.
  bool (*owns)(std::string_view file, std::string_view weights);
  /// What the source says and the files cannot, a sentence each; nullptr where there is no such thing.
  std::vector<std::string> (*remarks)(const Artifact& source) = nullptr;
  /// The scheme that an artifact itself says it has; nullptr or nullopt where it says none.
  std::optional<std::string> (*scheme_said)(const Artifact&) = nullptr;
};

/// Every kind (the table is written by CMake).
std::span<const Repository* const> all_repositories();
/// Error internal for a name that no kind has.
const Repository& find_repository(std::string_view name);
/// The kind that a target loads.
const Repository& repository_of(const Target&);

/// Fills in what the kind decides of a plan of `planned`, which may be smaller than the source: the file's name, its
/// metadata, and the size of shards, where `shard_bytes` is the user's wish (0: none). `variant` "" stands for the
/// scheme. Errors as check_source and metadata say.
void complete(TargetPlan&, const Architecture& planned, const Artifact& source, const std::string& model,
              uint64_t shard_bytes, const std::string& variant = "");
/// Exact bytes of the files of weights that a complete plan will write, an index of shards not among them.
uint64_t file_bytes(const TargetPlan&);
/// Of an adapter of this rank beside them, where they hold a model of this shape.
uint64_t adapter_bytes(const TargetPlan&, const Architecture&, int64_t rank);
/// Opens the files of weights of a complete plan in a folder that exists.
std::unique_ptr<Writer> create_weights(const TargetPlan&, const std::filesystem::path& folder);
/// What open_artifact() takes to read a repository whose files of weights are these.
std::filesystem::path entrance(const TargetPlan&, const std::filesystem::path& folder,
                               std::span<const std::filesystem::path> weights);

/// Copies what says on which terms the source is given away (licence_files()) into a folder. Returns what was written.
std::vector<std::filesystem::path> copy_licences(const std::filesystem::path& source,
                                                 const std::filesystem::path& folder);

/// True for NAME and for shards NAME-00001-of-00002, where `name` has an extension: "model.safetensors".
bool is_weights_file(std::string_view file, std::string_view name);

}  // namespace kerf
