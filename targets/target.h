// A target is a runtime that will load the files: which kind of repository and which layouts it reads, which schemes
// and shapes its kernels take, and what it does to numbers. One file per target, target_<name>.cc.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/layouts/layout.h"
#include "grids/scheme.h"
#include "kernels/arithmetic.h"
#include "model/arch/architecture.h"
#include "targets/runtime_settings.h"

namespace kerf {

/// What a target needs to know of the model as a whole.
struct ModelShape {
  int64_t layers = 0, heads = 1, kv_heads = 1;
  bool tied = false;  // the head is the embedding matrix
};

/// What a target needs to know of one matrix.
struct SiteShape {
  std::string role;  // for the patterns of recipes
  std::string name;  // the checkpoint's tensor, for sentences
  std::string gguf;  // its name in GGUF: "blk.0.attn_q.weight"; "" where it has none
  SitePlace place = SitePlace::block;
  int64_t out = 0, in = 0;
  int64_t layer = -1;              // -1 for the embedding and the head
  bool followed_in_fused = false;  // another matrix of the same fused group (q, k, v; gate, up) comes after it
  ModelShape model;
  bool importance = false;  // codes will be chosen by calibration or an importance matrix
};

/// Activations that a runtime rounds to 8-bit integers before a product, with a scale for each token and each `group`
/// of channels (0: for all channels).
struct RoundedActivations {
  int64_t group = 0;
};

/// How one matrix is stored: packed by a layout, or as plain numbers of one type.
struct Storage {
  const Layout* layout = nullptr;
  Scheme scheme;             // when packed
  Dtype dense = Dtype::f32;  // when not
  /// The type to which the runtime rounds each weight when it decodes them; what would be infinite in it is refused.
  Dtype decoded = Dtype::f32;
  /// The matrices that the runtime fuses (q, k, v; gate, up) have their scale in common: they are quantized as one.
  bool fused_scale = false;
  std::optional<RoundedActivations> activations = std::nullopt;
  /// Why this differs from what the scheme's name says, or what the runtime will do badly with it; "" when all is well.
  std::string remark;
};

/// One matrix of a repository and how it is stored there.
struct StoredSite {
  SiteShape shape;
  Storage storage;
  /// The checkpoint's name without ".weight": what configs list.
  std::string module() const;
};

/// What a model card says of the files.
struct HubCard {
  std::string_view library, tag;  // front matter of the hub
  std::string_view command;       // that runs the files; "{}" stands for the file or folder
  bool quantized = true;          // what the hub calls such files
};

/// A file that lies beside the weights.
struct CompanionFile {
  std::string name, text;
};

struct SchemeHelp {
  std::string_view name, text;
};

/// What the tensors in the files of a target are called and how they are transformed: as in the checkpoint, or as GGUF.
enum class TensorNames { checkpoint, gguf };

/// How far the verification arithmetic is known to be the runtime's: measured, or of several runtimes transformers.
enum class Provenance { measured, with_transformers, from_source };
std::string_view name_of(Provenance);

class Target {
 public:
  virtual ~Target() = default;
  virtual std::string_view name() const = 0;
  /// One line: what runs the files.
  virtual std::string_view runtime() const = 0;
  /// The kind of folder that it loads, by name: pipeline/repository/repository_<name>.cc.
  virtual std::string_view repository() const = 0;
  virtual std::vector<SchemeHelp> schemes() const = 0;
  /// Rules of the loader and the kernels, one per line, for `kerf targets`.
  virtual std::vector<std::string_view> rules() const = 0;
  /// The scheme's canonical name ("" gives the default one); it may leave open what fitted() decides. Error usage with
  /// the choices.
  virtual std::string canonical(std::string_view scheme) const = 0;
  /// The same for the scheme of single matrices among others.
  virtual std::string canonical_of_matrix(std::string_view scheme) const { return canonical(scheme); }
  /// A canonical scheme with what it leaves open (the group) decided for a model whose blocks have these input widths;
  /// others as they are.
  virtual std::string fitted(std::string_view scheme, std::span<const int64_t> /*widths*/) const {
    return std::string(scheme);
  }
  /// The canonical scheme whose matrices hold these numbers, whatever the type of their scales; nullopt when there is
  /// none.
  virtual std::optional<std::string> scheme_holding(const Scheme&) const { return std::nullopt; }
  /// How the matrix is stored under a canonical scheme, given the model's dtype. Error unsupported, with the rule and
  /// the choices, when the runtime cannot take it.
  virtual Storage storage(std::string_view scheme, const SiteShape&, Dtype model) const = 0;
  virtual TensorNames names() const { return TensorNames::checkpoint; }
  /// The types that the model around the packed weights may be stored and computed in, of those that a model's config
  /// can name; empty where the files do not follow that type.
  virtual std::span<const Dtype> model_dtypes() const { return {}; }
  /// The one that a canonical scheme itself names, where the model has `model`; nullopt: the user's, or by the numbers.
  virtual std::optional<Dtype> dtype_of(std::string_view /*scheme*/, Dtype /*model*/) const { return std::nullopt; }
  /// What the widths that pruning leaves should be multiples of, for the kernels of this canonical scheme.
  virtual int64_t width_multiple(std::string_view scheme) const = 0;
  /// How norms and biases are stored.
  virtual Dtype vector_dtype(Dtype model) const = 0;
  /// What the runtime does between the products by default, for a model of this dtype.
  virtual Arithmetic arithmetic(Dtype model) const = 0;
  /// The same with settings of its users. Error usage, naming the option, for a setting that it does not have or not
  /// with another one; unsupported where it would refuse the model.
  virtual Arithmetic arithmetic_with(const RuntimeSettings&, const Architecture&) const;
  /// Which settings an arithmetic stands for, all that the runtime has.
  virtual RuntimeSettings settings_of(const Arithmetic&) const { return {}; }
  virtual Provenance provenance() const = 0;
  virtual HubCard card() const = 0;

  /// What became of a format of its own for matrices with this pattern of zeros (`zeros` of every `of` neighbours);
  /// "" where there never was one.
  virtual std::string_view remark_on_zeros(int /*zeros*/, int /*of*/) const { return ""; }

  /// Why not every reader takes all of these together, each of which it would take alone; "" when all is well.
  virtual std::string remark_on(std::span<const StoredSite>) const { return ""; }

  // Of targets that load repositories of the Hugging Face hub; Error internal for the others.

  /// Completes the checkpoint's config.json: `quantization_config`, and what else the loader must find changed. `sites`
  /// are all matrices, also those left in plain numbers. Error unsupported when the format cannot say how they are
  /// stored.
  virtual void configure(nlohmann::ordered_json& config, std::string_view scheme,
                         std::span<const StoredSite> sites) const;
  /// Files that the loader wants beside config.json, given the completed config.
  virtual std::vector<CompanionFile> companions(const nlohmann::ordered_json& config) const;
};

std::span<const Target* const> all_targets();
/// Error usage with the known names, and the one that was probably meant: people say "gguf", "ollama" or "gptq", or
/// name a scheme.
const Target& find_target(std::string_view name);

/// "NAME[:SCHEME]" as given on the command line, parsed and checked.
struct TargetChoice {
  const Target* target = nullptr;
  std::string scheme;  // canonical
  /// "llama.cpp-cpu:Q4_0"
  std::string text() const;
};
TargetChoice parse_target(std::string_view text);

}  // namespace kerf
