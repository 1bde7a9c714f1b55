// A Hugging Face checkpoint as a source of float32 weights.
#pragma once

#include <filesystem>
#include <memory>

#include "core/tensor.h"

namespace kerf {

/// Opens a folder (model.safetensors, or the shards of model.safetensors.index.json), a .safetensors file or an index
/// (see open_safetensors for the rules and errors). Every tensor is listed, whatever its dtype; read() is Error
/// unsupported for those that core's to_f32 does not convert. The files stay mapped; read() lets go of the pages behind
/// it, so that resident memory stays near what is being read, never the model.
std::unique_ptr<TensorSource> open_checkpoint(const std::filesystem::path& folder_or_file);

}  // namespace kerf
