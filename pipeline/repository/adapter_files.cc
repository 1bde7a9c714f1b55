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

// One half: [rows, cols] under the name that its container has for it.
struct Half {
  std::string name;
  int64_t rows, cols;
  std::vector<float> values;
};

std::vector<fs::path> write(const char* container, const fs::path& file, const std::vector<Half>& halves,
                            Metadata metadata) {
  FilePlan plan{.metadata = std::move(metadata)};
  std::vector<std::vector<std::byte>> bytes;
  for (const Half& h : halves) {
    bytes.emplace_back(h.values.size() * sizeof(uint16_t));
    from_f32(Dtype::f16, h.values, bytes.back());
    plan.tensors.push_back({h.name, "F16", {h.rows, h.cols}, bytes.back().size()});
  }
  const auto writer = find_container(container).create(file, plan);
  for (size_t i = 0; i < bytes.size(); ++i) writer->write(i, 0, bytes[i]);
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
  constexpr std::string_view kWeight = ".weight";
  std::set<std::string> modules;
  std::vector<Half> halves;
  for (const auto& [name, f] : factors) {
    const std::string module = name.substr(0, name.size() - (name.ends_with(kWeight) ? kWeight.size() : 0));
    modules.insert(leaf(module));
    halves.push_back({fmt::format("base_model.model.{}.lora_A.weight", module), f.rank, f.in, f.a});
    halves.push_back({fmt::format("base_model.model.{}.lora_B.weight", module), f.out, f.rank, f.b});
  }
  const int64_t rank = factors.begin()->second.rank;
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
      write("safetensors", folder / "adapter_model.safetensors", halves, {{"format", std::string("pt")}});
  files.push_back(folder / "adapter_config.json");
  write_text(files.back(), json_text(config) + "\n");
  return files;
}

std::vector<fs::path> write_gguf_adapter(const AdapterFactors& factors, const Artifact& packed) {
  const std::string stem = packed.path.stem().string();
  std::vector<Half> halves;
  for (const auto& [name, f] : factors) {
    const StoredWeight* w = packed.weights->weight(name);
    std::vector<float> b = f.b;
    if (!w->file_row.empty())
      for (int64_t r = 0; r < f.out; ++r)
        std::copy_n(f.b.begin() + r * f.rank, f.rank, b.begin() + w->file_row[static_cast<size_t>(r)] * f.rank);
    halves.push_back({w->file_name + ".lora_a", f.rank, f.in, f.a});
    halves.push_back({w->file_name + ".lora_b", f.out, f.rank, std::move(b)});
  }
  constexpr uint32_t kMostlyF16 = 1;  // of llama.h's file types
  return write("gguf", folder_beside(packed) / (stem + "-lora.gguf"), halves,
               {{"general.architecture", packed.architecture.gguf_name},
                {"general.type", std::string("adapter")},
                {"general.name", stem + "-lora"},
                {"general.file_type", kMostlyF16},
                {"adapter.type", std::string("lora")},
                {"adapter.lora.alpha", static_cast<float>(factors.begin()->second.rank)}});
}

uint64_t adapter_bytes(const Architecture& a, int64_t rank) {
  int64_t numbers = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) numbers += rank * (site.out + site.in);
  return static_cast<uint64_t>(numbers) * sizeof(uint16_t);
}

}  // namespace kerf
