// The GGUF container of llama.cpp, little-endian.
//
//   "GGUF", u32 version, u64 tensors, u64 keys
//   keys:    string name, u32 type, value          (types: the indices of MetaValue; string = u64 length, UTF-8 bytes;
//                                                   array = u32 element type, u64 count, elements)
//   tensors: string name, u32 dimensions (at most 4), u64 each (fastest first), u32 type, u64 offset
//   padding to general.alignment (32 unless that key says otherwise), then the data; offsets count from here, are
//   multiples of the alignment, and every tensor is followed by zeros up to the next multiple.
// Sources: docs/gguf.md of ggml; gguf.cpp of llama.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "formats/container.h"

namespace kerf {

constexpr uint32_t kGgufVersion = 3;
constexpr uint32_t kGgufDefaultAlignment = 32;
constexpr uint32_t kGgufMaxDimensions = 4;
constexpr size_t kGgufMaxTensorName = 63;  // GGML_MAX_NAME counts the closing zero
constexpr std::string_view kGgufAlignmentKey = "general.alignment";
// Of a model in several files, NAME-00001-of-0000N.gguf and so on: u16 (from 0), u16, i32.
constexpr std::string_view kGgufSplitKey = "split.no", kGgufSplitCountKey = "split.count",
                           kGgufSplitTensorsKey = "split.tensors.count";
constexpr size_t kGgufMaxShards = 65535;

/// Reads versions 2 and 3. A tensor's type is its ggml name ("Q4_K"); its shape is turned round, slowest first.
/// Error unsupported for version 1, big-endian files, nested arrays, and tensor types that kerf does not know or GGUF
/// has withdrawn (named); bad_input for anything else that breaks the rules, io as the system says.
/// The first of several files brings the others with it; keys are those of the first. Error bad_input when one is
/// missing (named) or does not belong to it, or when `path` is another than the first.
std::unique_ptr<Reader> open_gguf(const std::filesystem::path&);

/// A file that ends in .gguf, or begins as a GGUF does whatever its name (Ollama's blobs have no suffix).
bool is_gguf(const std::filesystem::path&);
/// The GGUF models in a folder by name: of one in several files the first. Where there are several, files that say they
/// are something else (importance matrices, adapters, image parts) are not among them; files that a download has not
/// finished are never.
std::vector<std::filesystem::path> gguf_models_in(const std::filesystem::path& folder);
/// Adapters (LoRA) in GGUF files of a folder, by name.
std::vector<std::filesystem::path> gguf_adapters_in(const std::filesystem::path& folder);
/// The program that merges them into their model.
constexpr std::string_view kMergesAdapters = "llama-export-lora";
/// The one model in a folder. Error bad_input when there are several (named), when only later files of a split model
/// are there, or none: the sentence then ends with `nothing`.
std::filesystem::path gguf_model_in(const std::filesystem::path& folder, std::string_view nothing);

/// Writes version 3 to a file of this name, tensors and keys in the order of the plan. A shape without dimensions is
/// written as one dimension of 1. Metadata may set general.alignment (u32). Error unsupported for a tensor name longer
/// than kGgufMaxTensorName, more than four dimensions, or too many shards. More than one are called
/// NAME-00001-of-0000N.gguf, as llama-gguf-split calls them; all keys are in the first.
Placement place_gguf(const std::filesystem::path&, const FilePlan&);
std::unique_ptr<Writer> create_gguf(const std::filesystem::path&, const FilePlan&);

/// Error bad_input unless this is a power of two from 8 to 2^20.
void check_gguf_alignment(uint32_t alignment, std::string_view what);

}  // namespace kerf
