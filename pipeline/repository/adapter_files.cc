// Sources: PEFT (peft/tuners/lora/config.py, utils/save_and_load.py), llama.cpp v0.5.0 (convert_lora_to_gguf.py,
// src/llama-adapter.cpp).
#include "pipeline/repository/adapter_files.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/container.h"
#include "verify/adapter.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kPeftTensors = "adapter_model.safetensors";

constexpr std::string_view kWeight = ".weight";

// Without ".weight".
std::string module_of(const std::string& name) {
  return name.substr(0, name.size() - (name.ends_with(kWeight) ? kWeight.size() : 0));
}

std::string stem_of(const std::string& weights) { return fs::path(weights).stem().string(); }

PlannedTensor half(std::string name, int64_t rows, int64_t cols) {
  return {std::move(name), "F16", {rows, cols}, static_cast<uint64_t>(rows * cols) * sizeof(uint16_t)};
}

// A then B of every matrix of the blocks, in the order of block_sites().
template <class Names>
FilePlan plan_of(const Architecture& a, int64_t rank, Metadata metadata, Names&& names) {
  FilePlan plan{.metadata = std::move(metadata)};
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) {
      const auto [of_a, of_b] = names(site);
      plan.tensors.push_back(half(of_a, rank, site.in));
      plan.tensors.push_back(half(of_b, site.out, rank));
    }
  return plan;
}

FilePlan peft_plan(const Architecture& a, int64_t rank) {
  return plan_of(a, rank, {{"format", std::string("pt")}}, [](const Site& site) {
    const std::string module = "base_model.model." + module_of(site.name);
    return std::pair(module + ".lora_A.weight", module + ".lora_B.weight");
  });
}

FilePlan gguf_plan(const Architecture& a, int64_t rank, const std::string& stem) {
  constexpr uint32_t kMostlyF16 = 1;  // of llama.h's file types
  Metadata metadata = {{"general.architecture", a.gguf_name}, {"general.type", std::string("adapter")},
                       {"general.name", stem + "-lora"},      {"general.file_type", kMostlyF16},
                       {"adapter.type", std::string("lora")}, {"adapter.lora.alpha", static_cast<float>(rank)}};
  return plan_of(a, rank, std::move(metadata),
                 [](const Site& site) { return std::pair(site.gguf + ".lora_a", site.gguf + ".lora_b"); });
}

uint64_t bytes_of_files(const char* container, const fs::path& file, const FilePlan& plan) {
  uint64_t bytes = 0;
  for (const Placement::File& f : find_container(container).place(file, plan).files) bytes += f.size;
  return bytes;
}

std::vector<fs::path> write(const char* container, const fs::path& file, const FilePlan& plan,
                            const AdapterFactors& factors, const Artifact& packed) {
  const auto writer = find_container(container).create(file, plan);
  size_t next = 0;
  const auto add = [&](std::span<const float> values) {
    std::vector<std::byte> bytes(values.size() * sizeof(uint16_t));
    from_f32(Dtype::f16, values, bytes);
    writer->write(next++, 0, bytes);
  };
  for (int64_t layer = 0; layer < packed.architecture.layers(); ++layer)
    for (const Site& site : packed.architecture.block_sites(layer)) {
      const LowRank& f = factors.at(site.name);
      const std::vector<int64_t>& file_row = packed.weights->weight(site.name)->file_row;
      std::vector<float> b = f.b;
      for (size_t r = 0; r < file_row.size(); ++r)
        std::copy_n(f.b.begin() + static_cast<int64_t>(r) * f.rank, f.rank, b.begin() + file_row[r] * f.rank);
      add(f.a);
      add(b);
    }
  return writer->commit();
}

// The last part of a module's name, which PEFT looks for in all layers: "q_proj".
std::string leaf(const std::string& module) { return module.substr(module.rfind('.') + 1); }

// Made where it is missing.
fs::path folder_beside(const Artifact& packed) {
  const fs::path folder = (fs::is_directory(packed.path) ? packed.path : packed.path.parent_path()) / kAdapterFolder;
  fs::create_directories(folder);
  return folder;
}

}  // namespace

std::vector<fs::path> write_peft_adapter(const AdapterFactors& factors, const Artifact& packed) {
  const fs::path folder = folder_beside(packed);
  const int64_t rank = factors.begin()->second.rank;
  std::set<std::string> modules;
  for (const auto& [name, f] : factors) modules.insert(leaf(module_of(name)));
  const ordered_json config = {{"peft_type", "LORA"},
                               {"task_type", "CAUSAL_LM"},
                               {"base_model_name_or_path", nullptr},
                               {"r", rank},
                               {"lora_alpha", rank},
                               {"lora_dropout", 0.0},
                               {"target_modules", modules},
                               {"bias", "none"},
                               {"fan_in_fan_out", false},
                               {"inference_mode", true},
                               {"use_rslora", false},
                               {"use_dora", false}};
  std::vector<fs::path> files =
      write("safetensors", folder / kPeftTensors, peft_plan(packed.architecture, rank), factors, packed);
  files.push_back(folder / "adapter_config.json");
  write_text(files.back(), json_text(config) + "\n");
  return files;
}

std::vector<fs::path> write_gguf_adapter(const AdapterFactors& factors, const Artifact& packed) {
  const std::string stem = stem_of(packed.path.string());
  return write("gguf", folder_beside(packed) / (stem + "-lora.gguf"),
               gguf_plan(packed.architecture, factors.begin()->second.rank, stem), factors, packed);
}

uint64_t peft_adapter_bytes(const Architecture& a, int64_t rank, const std::string&) {
  return bytes_of_files("safetensors", kPeftTensors, peft_plan(a, rank));
}

uint64_t gguf_adapter_bytes(const Architecture& a, int64_t rank, const std::string& weights) {
  const std::string stem = stem_of(weights);
  return bytes_of_files("gguf", stem + "-lora.gguf", gguf_plan(a, rank, stem));
}

}  // namespace kerf
