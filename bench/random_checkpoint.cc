// Writes a Llama checkpoint of any shape with random weights, for measuring speed and memory: normal weights of
// standard deviation 0.02 from a counter-based generator, so that the same shape gives the same file.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "formats/container.h"
#include "model/arch/family.h"

namespace {
namespace fs = std::filesystem;
using kerf::Dtype;

uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Box-Muller on the two halves of one random word: two normal numbers per counter.
void normal_pair(uint64_t counter, float* out) {
  const uint64_t bits = splitmix64(counter);
  const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
  const float angle = static_cast<float>(bits & 0xffffff) * 0x1p-24f * 2 * std::numbers::pi_v<float>;
  const float radius = std::sqrt(-2 * std::log(u));
  out[0] = radius * std::cos(angle);
  out[1] = radius * std::sin(angle);
}

void write_random(kerf::Writer& writer, size_t tensor, Dtype dtype, int64_t n, bool norm, uint64_t seed) {
  constexpr int64_t kChunk = 1 << 20;
  kerf::parallel_for((n + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk, end = std::min(n, begin + kChunk);
    std::vector<float> w(static_cast<size_t>(end - begin + 1));
    for (int64_t i = begin; i < end; i += 2)
      normal_pair(splitmix64(seed) + static_cast<uint64_t>(i), w.data() + (i - begin));
    w.resize(static_cast<size_t>(end - begin));
    for (float& x : w) x = norm ? 1.0f + 0.1f * x : 0.02f * x;
    std::vector<std::byte> bytes(static_cast<size_t>(kerf::bytes_of(dtype, end - begin)));
    kerf::from_f32(dtype, w, bytes);
    writer.write(tensor, static_cast<uint64_t>(kerf::bytes_of(dtype, begin)), bytes);
  });
}

struct Options {
  int64_t hidden = 576, ffn = 1536, layers = 30, heads = 9, kv_heads = 3, vocab = 49152, context = 2048;
  bool untied = false;
  std::string dtype = "bfloat16";
  fs::path tokenizer, out;
};

void run(const Options& o) {
  const auto dtype = kerf::dtype_from_torch_name(o.dtype);
  if (!dtype) kerf::fail(kerf::ErrorKind::usage, "there is no dtype '{}'; try bfloat16, float16 or float32", o.dtype);
  const nlohmann::ordered_json config = {{"architectures", {"LlamaForCausalLM"}},
                                         {"model_type", "llama"},
                                         {"hidden_size", o.hidden},
                                         {"intermediate_size", o.ffn},
                                         {"num_hidden_layers", o.layers},
                                         {"num_attention_heads", o.heads},
                                         {"num_key_value_heads", o.kv_heads},
                                         {"vocab_size", o.vocab},
                                         {"max_position_embeddings", o.context},
                                         {"rms_norm_eps", 1e-5},
                                         {"rope_theta", 10000.0},
                                         {"hidden_act", "silu"},
                                         {"tie_word_embeddings", !o.untied},
                                         {"bos_token_id", 1},
                                         {"eos_token_id", 2},
                                         {"torch_dtype", o.dtype}};
  const kerf::Architecture a = kerf::describe_architecture(nlohmann::json::parse(config.dump()));
  kerf::FilePlan plan{.metadata = {{"format", std::string("pt")}}};
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const kerf::ExpectedTensor& t : a.expected_tensors(layer)) {
      int64_t n = 1;
      for (const int64_t d : t.shape) n *= d;
      plan.tensors.push_back(
          {t.name, std::string(kerf::name_of(*dtype)), t.shape, static_cast<uint64_t>(kerf::bytes_of(*dtype, n))});
    }
  fs::create_directories(o.out);
  const auto writer = kerf::find_container("safetensors").create(o.out, plan);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const kerf::PlannedTensor& t = plan.tensors[i];
    int64_t n = 1;
    for (const int64_t d : t.shape) n *= d;
    write_random(*writer, i, *dtype, n, t.shape.size() == 1, i);
  }
  writer->commit();
  kerf::write_text(o.out / "config.json", config.dump(2) + "\n");
  if (o.tokenizer.empty()) return;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    if (fs::exists(o.tokenizer / name))
      fs::copy_file(o.tokenizer / name, o.out / name, fs::copy_options::overwrite_existing);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app("A Llama checkpoint with random weights; the defaults have the shape of SmolLM2-135M.");
  app.add_option("--hidden", o.hidden)->capture_default_str();
  app.add_option("--ffn", o.ffn)->capture_default_str();
  app.add_option("--layers", o.layers)->capture_default_str();
  app.add_option("--heads", o.heads)->capture_default_str();
  app.add_option("--kv-heads", o.kv_heads)->capture_default_str();
  app.add_option("--vocab", o.vocab)->capture_default_str();
  app.add_option("--context", o.context)->capture_default_str();
  app.add_flag("--untied", o.untied);
  app.add_option("--dtype", o.dtype)->capture_default_str();
  app.add_option("--tokenizer", o.tokenizer, "Folder whose tokenizer files are copied");
  app.add_option("-o,--out", o.out)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const kerf::Error& e) {
    fmt::print(stderr, "random_checkpoint: {}\n", e.what());
    return e.exit_code();
  }
}
