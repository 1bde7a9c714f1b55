// Checkpoints made for a test: the embedded model's config and tokenizer with other shapes and numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"
#include "formats/safetensors.h"
#include "model/arch/family.h"
#include "tests/support/data.h"

namespace kerf::test {

/// Writes a checkpoint folder. `change` edits config.json, whose keys say the shapes; weights are normal, 1 / sqrt(in)
/// wide, norms near 1, and go through `value` before they are stored.
inline void write_small_model(
    const std::filesystem::path& folder, const std::function<void(nlohmann::ordered_json&)>& change,
    Dtype stored = Dtype::bf16, const std::function<float(float)>& value = [](float x) { return x; }) {
  namespace fs = std::filesystem;
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(example_dir()))
    if (entry.path().extension() == ".json" || entry.path().extension() == ".jinja")
      fs::copy(entry.path(), folder / entry.path().filename());
  auto config = nlohmann::ordered_json::parse(read_text(example_dir() / "config.json"));
  config.erase("torch_dtype");
  config["dtype"] = torch_name_of(stored);
  change(config);
  write_text(folder / "config.json", config.dump(2));
  const Architecture a = describe_architecture(nlohmann::json::parse(config.dump()));
  FilePlan plan{.metadata = {{"format", std::string("pt")}}};
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& t : a.expected_tensors(layer)) {
      int64_t n = 1;
      for (const int64_t d : t.shape) n *= d;
      plan.tensors.push_back(
          {t.name, std::string(name_of(stored)), t.shape, static_cast<uint64_t>(bytes_of(stored, n))});
    }
  const auto writer = create_safetensors(folder, plan);
  std::mt19937 rng(11);
  std::normal_distribution<float> normal(0, 1);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& t = plan.tensors[i];
    const bool vector = t.shape.size() == 1;
    std::vector<float> w(static_cast<size_t>(t.shape[0] * (vector ? 1 : t.shape[1])));
    for (float& x : w)
      x = value(vector ? 1 + 0.1f * normal(rng) : normal(rng) / std::sqrt(static_cast<float>(t.shape[1])));
    std::vector<std::byte> bytes(t.bytes);
    from_f32(stored, w, bytes);
    writer->write(i, 0, bytes);
  }
  writer->commit();
}

struct ModelShape {
  int64_t hidden, ffn, heads, kv_heads, head_dim, layers;
};
inline void set_shape(nlohmann::ordered_json& config, const ModelShape& s) {
  config["hidden_size"] = s.hidden;
  config["intermediate_size"] = s.ffn;
  config["num_attention_heads"] = s.heads;
  config["num_key_value_heads"] = s.kv_heads;
  config["head_dim"] = s.head_dim;
  config["num_hidden_layers"] = s.layers;
}

/// The shape of SmolLM2-135M, one layer of it: widths 576 and 1536.
inline void shape_of_smollm(nlohmann::ordered_json& config) { set_shape(config, {576, 1536, 9, 3, 64, 1}); }

}  // namespace kerf::test
