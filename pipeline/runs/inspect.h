// `kerf inspect`: what a file or folder holds.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kerf {

/// Metadata, tensors with types, shapes and bits per weight; of a model that kerf can run also its dimensions, bits of
/// body and embedding, and the target it is made for. Any container is inspected, whether or not kerf can run it.
nlohmann::ordered_json inspect(const std::filesystem::path&);
/// The same for people.
std::string inspection_text(const nlohmann::ordered_json&);

/// Writes one decoded tensor as NumPy float32, rows as the file has them. `name` as in the file; a compressed-tensors
/// matrix goes by its module: "....weight". Error usage when there is none.
void write_tensor_npy(const std::filesystem::path& model, const std::string& name, const std::filesystem::path& out);

}  // namespace kerf
