// Any model that kerf can read, as the runtime that it is made for computes it: checkpoints in full precision, packed
// folders and GGUF files. The bytes are those on disk, multiplied where they lie; nothing here is shared with the code
// that packs.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "formats/container.h"
#include "grids/scheme.h"
#include "kernels/arithmetic.h"
#include "kernels/gemm.h"
#include "model/arch/architecture.h"
#include "model/run/weights.h"
#include "model/text/tokenizer_source.h"
#include "targets/runtime_settings.h"

namespace kerf {

/// One tensor of a model: plain numbers, a matrix packed for a kernel, or one whose rows are decoded when asked for.
struct StoredWeight {
  TensorInfo info;                   // under the checkpoint's name; of a packed matrix the shape [out, in], and F32
  std::string file_name;             // the name in the file: "blk.0.attn_q.weight"
  std::string type;                  // for people: "Q4_0", "BF16", "int4 g32 BF16"
  std::string scheme;                // as the format's target calls it: "w4a16-g32"; "" of plain numbers
  std::span<const std::byte> bytes;  // of plain numbers
  const PackedGemm* gemm = nullptr;  // of a packed matrix
  const PackedGemm* vllm = nullptr;  // as vLLM computes it, where that is known to differ
  PackedMatrix packed;
  /// Of a packed matrix without a kernel of its own: row `row` of the file as the runtime dequantizes it, cols numbers.
  /// Products are dense. Thread-safe.
  std::function<void(int64_t row, std::span<float> out)> decode;
  std::vector<int64_t> file_row;  // row r of the checkpoint is row file_row[r] of the file; empty: the same
  float output_scale = 1;         // of a packed matrix: every output of a product is multiplied by it, every weight too
  uint64_t stored_bytes = 0;      // of everything that belongs to it
  /// The layout of formats/ that would write these bytes and the numbers they hold; "" when none does.
  std::string layout;
  Scheme numbers = {};
};

/// Whether it is stored in codes, and not as plain numbers.
bool is_quantized(const StoredWeight&);

/// Decoded weights by their checkpoint names.
class StoredWeights final : public TensorSource {
 public:
  /// Names must differ. `reader` holds what the bytes point into.
  StoredWeights(std::unique_ptr<Reader> reader, std::vector<StoredWeight> weights);
  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override;
  void read(const TensorInfo&, int64_t row_begin, std::span<float> out) const override;

  /// By its checkpoint name; nullptr when there is none.
  const StoredWeight* weight(std::string_view name) const;
  std::span<const StoredWeight> weights() const { return weights_; }
  const Reader& reader() const { return *reader_; }

 private:
  void read_plain(const StoredWeight&, int64_t begin, std::span<float> out) const;

  std::unique_ptr<Reader> reader_;
  std::vector<StoredWeight> weights_;
  std::vector<TensorInfo> infos_;
  std::unordered_map<std::string_view, size_t> index_;
};

/// Row `row` of the file, decoded.
void decode_file_row(const StoredWeight&, int64_t row, std::span<float> out);

/// Bits per weight: all (every byte of the weight files, over all parameters), the matrices of the blocks, and the
/// embedding with the head.
struct BitsPerWeight {
  double all = 0, body = 0, embedding = 0;
};

inline constexpr std::string_view kCheckpointFormat = "checkpoint", kGgufFormat = "GGUF";

struct Adapter;  // verify/adapter.h

struct Artifact {
  std::filesystem::path path;
  std::string format;  // "checkpoint", "GGUF", or as a stored format calls itself: "compressed-tensors"
  std::string target;  // that loads it (targets/target.h); "" of a checkpoint
  Architecture architecture;
  Arithmetic arithmetic;       // of the runtime that the format is made for; float32 for checkpoints
  bool gguf_rounding = false;  // activations meet F16 and BF16 weights in the weight's type
  std::unique_ptr<StoredWeights> weights;
  std::shared_ptr<const Adapter> adapter = {};  // with which it is computed; nullptr: none
  TokenizerSource tokenizer;                    // must not outlive `weights`
  std::vector<std::filesystem::path> files;     // that hold weights
  uint64_t bytes = 0;                           // of those files
  std::string checksum = {};                    // of a model that kerf made for itself: what tells it from others
  /// What was made of a checkpoint that contradicts itself, or left out of it: for the report.
  std::vector<std::string> remarks = {};
  /// Keys of config.json, with values as JSON text, that describe the weights as they were read, where the file's do
  /// not: for every config.json that is written from it.
  std::map<std::string, std::string> config_changes = {};

  BitsPerWeight bits_per_weight() const;
  int64_t parameters() const;
  /// Whether any matrix is stored in codes; a GGUF file of F16, BF16 or F32 has none.
  bool is_quantized() const;
};

/// A folder with a config.json; not one where it lies beside GGUF files and no safetensors.
bool is_checkpoint(const std::filesystem::path& folder);

/// A folder with a config.json or a GGUF model.
bool holds_model(const std::filesystem::path& folder);
/// Folders in this one, hidden ones apart, that hold a model, by name: as a run with several targets leaves them.
std::vector<std::filesystem::path> folders_with_models(const std::filesystem::path& folder);

/// Opens a folder with config.json and safetensors (plain or quantized), a .safetensors file beside a config.json, a
/// GGUF file (by its suffix or its first bytes), or a folder that holds exactly one. Everything that the architecture
/// needs is checked to be there with the right shape. Errors: io, bad_input and unsupported as the readers say.
Artifact open_artifact(const std::filesystem::path&);

enum class VerifyMode {
  runtime,  // the arithmetic of the runtime
  vllm,     // as vLLM's kernels round activations to 8 bits, known from source; otherwise `runtime`
  float32,  // decoded weights, everything in float32
};

/// From now on the artifact is computed as its runtime does with these settings. Errors as Target::arithmetic_with, and
/// usage for settings of what no runtime computes: a checkpoint, or `float32`.
void set_runtime(Artifact&, const RuntimeSettings&, VerifyMode);
/// All settings with which it is computed; none where no runtime has any.
RuntimeSettings runtime_of(const Artifact&, VerifyMode);

/// The artifact's weights for a model run, with its adapter if `adapted`. It must outlive the result.
std::unique_ptr<WeightProvider> weights_of(const Artifact&, VerifyMode, bool adapted = true);
inline Arithmetic arithmetic_of(const Artifact& a, VerifyMode n) {
  return n == VerifyMode::float32 ? Arithmetic{} : a.arithmetic;
}

/// The tokenizer.ggml.* keys of a GGUF file, which may hold nothing else.
TokenizerSpec gguf_tokenizer(const Reader&);

// The two families of formats; open_artifact chooses.
Artifact open_gguf_artifact(const std::filesystem::path& file);
Artifact open_huggingface_artifact(const std::filesystem::path& folder_or_file);

}  // namespace kerf
