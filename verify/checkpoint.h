// Checkpoints that say less than they hold, or something else: names under a prefix, a head beside an embedding that
// config.json calls tied, codes without the config that explains them. What is made of each is said; what would have to
// be guessed is refused.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "formats/container.h"
#include "model/arch/architecture.h"
#include "verify/artifact.h"

namespace kerf {

/// What config.json calls quantization_config, an object, and the file that says it.
struct QuantizationSource {
  std::string file;
  nlohmann::json config;
};
/// null where nothing is quantized. Where config.json is silent and there are packed matrices, quantize_config.json
/// (AutoGPTQ) or quant_config.json (AutoAWQ) speaks, in the words of quantization_config. Error bad_input when it is no
/// object.
QuantizationSource read_quantization(const std::filesystem::path& folder, const nlohmann::json& config, const Reader&);

/// Error bad_input, naming it, for a small file of the folder (of a tokenizer, say) that is a pointer to the real one,
/// or an HTML page in place of it: before the work, not when it is copied at the end.
void refuse_stand_ins(const std::filesystem::path& folder);

/// Error unsupported for a folder that holds an adapter and no model.
void refuse_lone_adapter(const std::filesystem::path& folder);
/// Error unsupported for tensors of an adapter that was not merged into its weights, named.
void refuse_adapter_tensors(const Reader&);
/// An adapter, of PEFT's files or a GGUF, that lies beside the weights, which nothing reads: a remark.
void remark_on_adapter(const std::filesystem::path& folder, Artifact&);

/// Gives the weights the names that the architecture has for them where the checkpoint's stand under another prefix,
/// as wrappers leave them ("module.", "_orig_mod."), or under none (the base model without its head).
void strip_prefixes(Artifact&, std::vector<StoredWeight>&);

/// Error unsupported for a weight that is stored as codes (integers, 8-bit floats) where nothing says what they mean,
/// with the scales beside it.
void refuse_codes(const Artifact&, const Reader&, std::span<const StoredWeight>);

/// Of a model whose config.json ties head and embedding: without an embedding the head serves as both.
void find_tied_embedding(Artifact&, std::vector<StoredWeight>&);
/// And where both are stored with different numbers, rounded to the model's type, they are two matrices.
void untie_different_head(Artifact&);

}  // namespace kerf
