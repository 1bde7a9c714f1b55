// A checkpoint of one small Llama block in a folder, for tests that change what lies in it. Needs kerf::formats.
#pragma once

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"
#include "formats/container.h"
#include "tests/support/data.h"

namespace kerf::test {

struct SmallTensor {
  std::string type;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

struct SmallCheckpoint {
  static constexpr int64_t kHidden = 256, kFfn = 256, kHeads = 4, kVocab = 64;

  nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                           {"model_type", "llama"},
                           {"hidden_size", kHidden},
                           {"intermediate_size", kFfn},
                           {"num_hidden_layers", 1},
                           {"num_attention_heads", kHeads},
                           {"num_key_value_heads", kHeads},
                           {"vocab_size", kVocab},
                           {"max_position_embeddings", 128},
                           {"rms_norm_eps", 1e-5},
                           {"tie_word_embeddings", true},
                           {"torch_dtype", "bfloat16"}};
  std::map<std::string, SmallTensor> tensors;

  SmallCheckpoint() {
    uint64_t counter = 1;
    const std::string block = "model.layers.0.";
    add("model.embed_tokens.weight", {kVocab, kHidden}, counter++);
    add("model.norm.weight", {kHidden}, counter++);
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
      add(block + norm + ".weight", {kHidden}, counter++);
    for (const char* matrix : {"q_proj", "k_proj", "v_proj", "o_proj"})
      add(block + "self_attn." + matrix + ".weight", {kHidden, kHidden}, counter++);
    for (const char* matrix : {"gate_proj", "up_proj", "down_proj"})
      add(block + "mlp." + matrix + ".weight", {kHidden, kHidden}, counter++);
  }

  /// Numbers between -0.125 and 0.125 that follow from `seed`; norms are 1.
  void add(const std::string& name, std::vector<int64_t> shape, uint64_t seed, Dtype type = Dtype::bf16) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    std::vector<float> values(static_cast<size_t>(n), 1.0f);
    if (shape.size() > 1)
      for (float& v : values) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        v = (static_cast<float>(seed >> 40) / static_cast<float>(1 << 24) - 0.5f) / 4;
      }
    put(name, std::move(shape), values, type);
  }
  void put(const std::string& name, std::vector<int64_t> shape, std::span<const float> values, Dtype type) {
    std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, static_cast<int64_t>(values.size()))));
    from_f32(type, values, bytes);
    tensors[name] = {std::string(name_of(type)), std::move(shape), std::move(bytes)};
  }
  /// Zeros of any type.
  void put_bytes(const std::string& name, const std::string& type, std::vector<int64_t> shape) {
    int64_t n = bits_of(*dtype_from_name(type)) / 8;
    for (const int64_t d : shape) n *= d;
    tensors[name] = {type, std::move(shape), std::vector<std::byte>(static_cast<size_t>(n))};
  }
  std::vector<float> values(const std::string& name) const {
    const SmallTensor& t = tensors.at(name);
    const Dtype type = *dtype_from_name(t.type);
    std::vector<float> out(t.bytes.size() * 8 / static_cast<size_t>(bits_of(type)));
    to_f32(type, t.bytes, out);
    return out;
  }
  void set_one(const std::string& name, size_t at, float value) {
    std::vector<float> all = values(name);
    all[at] = value;
    put(name, tensors.at(name).shape, all, *dtype_from_name(tensors.at(name).type));
  }
  void rename(const std::function<std::string(const std::string&)>& to) {
    std::map<std::string, SmallTensor> renamed;
    for (auto& [name, t] : tensors) renamed[to(name)] = std::move(t);
    tensors = std::move(renamed);
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_text(folder / "config.json", config.dump(1));
    write_file(folder / "model.safetensors", [](const std::string&) { return true; });
  }
  void write_file(const std::filesystem::path& file, const std::function<bool(const std::string&)>& wanted) const {
    FilePlan plan{.metadata = {{"format", std::string("pt")}}};
    for (const auto& [name, t] : tensors)
      if (wanted(name)) plan.tensors.push_back({name, t.type, t.shape, t.bytes.size()});
    const auto writer = find_container("safetensors").create(file, plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) writer->write(i, 0, tensors.at(plan.tensors[i].name).bytes);
    writer->commit();
  }
};

}  // namespace kerf::test
