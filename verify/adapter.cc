// Sources: PEFT (peft/tuners/lora/config.py, utils/save_and_load.py), llama.cpp v0.5.0 (src/llama-adapter.cpp).
#include "verify/adapter.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "formats/gguf.h"
#include "formats/text.h"
#include "model/run/weights.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kConfig = "adapter_config.json", *kTensors = "adapter_model.safetensors";

// What stands in the file for one matrix.
struct Halves {
  const StoredTensor *a = nullptr, *b = nullptr;
};

// One half of a file's names: "X.lora_a" is the first half of X; nullopt: neither.
struct Half {
  std::string of;
  bool first;
};
using SplitName = std::optional<Half> (*)(std::string_view name);

std::optional<Half> without(std::string_view name, std::string_view prefix, std::string_view first,
                            std::string_view second) {
  if (!name.starts_with(prefix)) return std::nullopt;
  for (const bool is_first : {true, false})
    if (const std::string_view end = is_first ? first : second; name.ends_with(end))
      return Half{std::string(name.substr(prefix.size(), name.size() - prefix.size() - end.size())), is_first};
  return std::nullopt;
}

std::optional<Half> half_in_gguf(std::string_view name) { return without(name, "", ".lora_a", ".lora_b"); }
std::optional<Half> half_in_peft(std::string_view name) {
  std::optional<Half> half = without(name, "base_model.model.", ".lora_A.weight", ".lora_B.weight");
  if (half) half->of += ".weight";
  return half;
}

std::vector<float> numbers_of(const Reader& r, const StoredTensor& t, Dtype type) {
  std::vector<float> values(static_cast<size_t>(t.shape[0] * t.shape[1]));
  to_f32(type, t.bytes, values);
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    fail(ErrorKind::numerical, "{}: {} holds a number that is infinite or none: the adapter is damaged",
         r.path().string(), in_quotes(t.name));
  return values;
}

// Matrices of blocks, by the names that the file has for them.
std::unordered_map<std::string, Site> sites_by_name(const Artifact& model, bool gguf) {
  std::unordered_map<std::string, Site> sites;
  for (int64_t layer = 0; layer < model.architecture.layers(); ++layer)
    for (const Site& site : model.architecture.block_sites(layer)) sites[gguf ? site.gguf : site.name] = site;
  return sites;
}

void take_tensors(Adapter& adapter, const Reader& r, const Artifact& model, SplitName split,
                  const std::function<float(int64_t rank)>& scale) {
  const auto sites = sites_by_name(model, model.format == kGgufFormat);
  std::map<std::string, Halves> found;
  for (const StoredTensor& t : r.tensors()) {
    const auto half = split(t.name);
    if (!half || !sites.contains(half->of))
      fail(ErrorKind::unsupported,
           "{}: {} is no half of an adapter beside a matrix in the blocks of {}; kerf computes plain LoRA on those",
           r.path().string(), in_quotes(t.name), model.path.string());
    (half->first ? found[half->of].a : found[half->of].b) = &t;
  }
  if (found.empty()) fail(ErrorKind::bad_input, "{} holds no tensor", r.path().string());
  for (const auto& [name, halves] : found) {
    const Site& site = sites.at(name);
    if (!halves.a || !halves.b)
      fail(ErrorKind::bad_input, "{} holds one half of the adapter of {}, and the other is missing", r.path().string(),
           name);
    const auto &a = *halves.a, &b = *halves.b;
    if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[0] != b.shape[1] || a.shape[0] < 1 ||
        a.shape[1] != site.in || b.shape[0] != site.out)
      fail(ErrorKind::bad_input,
           "{}: {} is [{}] and {} is [{}]; beside a matrix of {} x {} belong [rank, {}] and [{}, rank]",
           r.path().string(), a.name, fmt::join(a.shape, ", "), b.name, fmt::join(b.shape, ", "), site.out, site.in,
           site.in, site.out);
    const auto type = dtype_from_name(a.type);
    if (!type || a.type != b.type || (*type != Dtype::f32 && *type != Dtype::f16 && *type != Dtype::bf16))
      fail(ErrorKind::unsupported, "{}: {} is stored as {} and {} as {}; kerf knows adapters in F32, F16 and BF16",
           r.path().string(), a.name, a.type, b.name, b.type);
    Adapter::OfMatrix m{.factors = {.out = site.out,
                                    .in = site.in,
                                    .rank = a.shape[0],
                                    .b = numbers_of(r, b, *type),
                                    .a = numbers_of(r, a, *type)},
                        .scale = scale(a.shape[0]),
                        .type = *type};
    if (const StoredWeight* w = model.weights->weight(site.name); w && !w->file_row.empty()) {
      const std::vector<float> in_file = m.factors.b;
      const int64_t rank = m.factors.rank;
      for (int64_t row = 0; row < site.out; ++row)
        std::copy_n(in_file.begin() + w->file_row[static_cast<size_t>(row)] * rank, rank,
                    m.factors.b.begin() + row * rank);
    }
    adapter.matrices.emplace(site.name, std::move(m));
  }
  adapter.files = r.files();
  for (const fs::path& f : adapter.files) adapter.bytes += fs::file_size(f);
}

// Of alpha, by what the sentence calls it.
void check_scale(double alpha, const char* key, const std::string& file) {
  if (!std::isfinite(static_cast<float>(alpha)))
    fail(ErrorKind::bad_input, "{}: {} is {}, no number to multiply an adapter by", file, key, alpha);
}

// Error bad_input for what is neither true nor false.
bool flag_of(const json& config, const char* key, const std::string& file) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return false;
  if (!at->is_boolean()) fail(ErrorKind::bad_input, "{}: {} is {}, not true or false", file, key, short_json(*at));
  return at->get<bool>();
}

// PEFT puts adapters beside the modules that the list names, by their names or the ends of them; a text is a pattern.
void check_modules(const json& config, const Adapter& adapter, const std::string& file) {
  const auto at = config.find("target_modules");
  if (at == config.end() || at->is_null() || at->is_string()) return;
  if (!at->is_array()) fail(ErrorKind::bad_input, "{}: target_modules is {}, not a list", file, short_json(*at));
  for (const auto& [name, m] : adapter.matrices) {
    const std::string module = name.substr(0, name.rfind('.'));
    const bool named = std::any_of(at->begin(), at->end(), [&](const json& j) {
      return j.is_string() && (module == j.get<std::string>() || module.ends_with("." + j.get<std::string>()));
    });
    if (!named)
      fail(ErrorKind::bad_input, "{}: target_modules does not name {}, which {} holds an adapter for", file, module,
           kTensors);
  }
}

void open_gguf_adapter(Adapter& adapter, const fs::path& file, const Artifact& model) {
  const std::unique_ptr<Reader> r = find_container("gguf").open(file);
  const auto text = [&](const char* key) { return r->get_or<std::string>(key, ""); };
  if (text("general.type") != "adapter" || text("adapter.type") != "lora")
    fail(ErrorKind::unsupported, "{} is no LoRA adapter: general.type is '{}', adapter.type '{}'", file.string(),
         text("general.type"), text("adapter.type"));
  if (r->find_metadata("adapter.alora.invocation_tokens"))
    fail(ErrorKind::unsupported,
         "{} is an adapter that acts behind certain tokens only (adapter.alora.invocation_tokens); kerf computes plain "
         "LoRA",
         file.string());
  if (text("general.architecture") != model.architecture.gguf_name)
    fail(ErrorKind::bad_input, "{} is an adapter for models of the architecture '{}', and {} is {}", file.string(),
         text("general.architecture"), model.path.string(), model.architecture.gguf_name);
  const double alpha = r->get_number("adapter.lora.alpha").value_or(0);
  check_scale(alpha, "adapter.lora.alpha", file.string());
  take_tensors(adapter, *r, model, half_in_gguf,
               [&](int64_t rank) { return alpha != 0 ? static_cast<float>(alpha) / static_cast<float>(rank) : 1.0F; });
}

void open_peft_adapter(Adapter& adapter, const fs::path& folder, const Artifact& model) {
  const fs::path file = folder / kConfig;
  const json config = read_json_object(file);
  const auto refuse = [&](const char* key, const char* what) {
    fail(ErrorKind::unsupported, "{}: {} is {}; {}", file.string(), key, short_json(config.at(key)), what);
  };
  if (config.value("peft_type", json()) != "LORA")
    fail(ErrorKind::unsupported, "{}: peft_type is {}; kerf computes LORA", file.string(),
         short_json(config.value("peft_type", json())));
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"})
    if (flag_of(config, key, file.string())) refuse(key, "kerf computes plain LoRA");
  if (config.contains("bias") && config.at("bias") != "none") refuse("bias", "kerf computes adapters without biases");
  for (const char* key : {"alpha_pattern", "rank_pattern"})
    if (const auto at = config.find(key); at != config.end() && !at->empty())
      refuse(key, "kerf knows one rank and one lora_alpha for all matrices");
  // What changes where or how adapters act.
  for (const char* key : {"alora_invocation_tokens", "layer_replication", "use_bdlora", "layers_to_transform",
                          "exclude_modules", "modules_to_save", "trainable_token_indices", "target_parameters"})
    if (const auto at = config.find(key); at != config.end() && !at->empty() && *at != false)
      refuse(key, "kerf computes plain LoRA beside all that the file holds adapters for");
  const json r = config.value("r", json(8));
  if (!r.is_number_integer() || r.get<int64_t>() < 1)
    fail(ErrorKind::bad_input, "{}: r is {}, not a rank", file.string(), short_json(r));
  const json alpha = config.value("lora_alpha", json(8));
  if (!alpha.is_number())
    fail(ErrorKind::bad_input, "{}: lora_alpha is {}, not a number", file.string(), short_json(alpha));
  check_scale(alpha.get<double>(), "lora_alpha", file.string());
  const bool by_root = flag_of(config, "use_rslora", file.string());
  if (!fs::is_regular_file(folder / kTensors))
    fail(ErrorKind::io, "{} has no file {}, where the adapter of its {} would be", folder.string(), kTensors, kConfig);
  const std::unique_ptr<Reader> reader = find_container("safetensors").open(folder / kTensors);
  take_tensors(adapter, *reader, model, half_in_peft, [&](int64_t rank) {
    if (rank != r.get<int64_t>())
      fail(ErrorKind::bad_input, "{}: r is {}, and {} holds adapters of rank {}", file.string(), r.get<int64_t>(),
           kTensors, rank);
    const auto n = static_cast<double>(rank);
    return static_cast<float>(alpha.get<double>() / (by_root ? std::sqrt(n) : n));
  });
  check_modules(config, adapter, file.string());
}

}  // namespace

Adapter open_adapter(const fs::path& path, const Artifact& model) {
  Adapter adapter{.path = path};
  if (!fs::exists(path)) fail(ErrorKind::io, "there is no adapter {}", path.string());
  const bool peft = fs::is_directory(path) && fs::exists(path / kConfig);
  if (model.format == kGgufFormat) {
    if (peft)
      fail(ErrorKind::usage, "{} is an adapter of PEFT's, and {} is a GGUF file; give one in GGUF", path.string(),
           model.path.string());
    const std::vector<fs::path> found = fs::is_directory(path) ? gguf_adapters_in(path) : std::vector{path};
    if (found.size() != 1)
      fail(ErrorKind::bad_input, "{} holds {} GGUF files of adapters; name one", path.string(), found.size());
    open_gguf_adapter(adapter, found[0], model);
  } else {
    if (!peft)
      fail(ErrorKind::usage, "{} is no adapter of PEFT's, which a model in safetensors needs: a folder with {} and {}",
           path.string(), kConfig, kTensors);
    open_peft_adapter(adapter, path, model);
  }
  return adapter;
}

std::optional<fs::path> adapter_beside(const Artifact& a) {
  const fs::path beside = (fs::is_directory(a.path) ? a.path : a.path.parent_path()) / kAdapterFolder;
  return fs::is_directory(beside) ? std::optional(beside) : std::nullopt;
}

void say_left_out(const Artifact& a) {
  if (const auto beside = adapter_beside(a))
    warn(fmt::format("{0} lies beside the model and is left out; to measure the model with it give --adapter {0}",
                     beside->string()));
}

void refuse_adapter_of_several(const std::string& folder, size_t models) {
  if (models > 1)
    fail(ErrorKind::usage, "--adapter belongs to one model, and {} holds {}; name one of them", folder, models);
}

void set_adapter(Artifact& a, const fs::path& path) {
  auto adapter = std::make_shared<const Adapter>(open_adapter(path, a));
  a.files.insert(a.files.end(), adapter->files.begin(), adapter->files.end());
  a.bytes += adapter->bytes;
  a.adapter = std::move(adapter);
}

}  // namespace kerf
