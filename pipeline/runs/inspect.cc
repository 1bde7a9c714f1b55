#include "pipeline/runs/inspect.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/npy.h"
#include "formats/container.h"
#include "formats/gguf.h"
#include "model/arch/decoder.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/measure.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr size_t kShownElements = 8;  // of an array in the metadata

ordered_json to_json(const MetaValue& value) {
  return std::visit(
      []<class T>(const T& v) -> ordered_json {
        if constexpr (std::is_same_v<T, MetaArray>)
          return std::visit(
              []<class V>(const V& values) -> ordered_json {
                ordered_json j = {{"elements", 0}, {"first", ordered_json::array()}};
                if constexpr (!std::is_same_v<V, std::monostate>) {
                  j["elements"] = values.size();
                  for (size_t i = 0; i < std::min(values.size(), kShownElements); ++i) j["first"].push_back(values[i]);
                }
                return j;
              },
              v.values);
        else
          return v;
      },
      value);
}

int64_t elements(std::span<const int64_t> shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;  // the reader has checked the product
  return n;
}

ordered_json model_json(const fs::path& path) {
  const Artifact a = open_artifact(path);
  const Architecture& m = a.architecture;
  const Dimensions d = dimensions_of(m);
  const BitsPerWeight bpw = a.bits_per_weight();
  ordered_json j = {{"format", a.format},
                    {"architecture", m.family},
                    {"parameters", a.parameters()},
                    {"layers", d.layers},
                    {"hidden", d.hidden},
                    {"ffn", d.ffn},
                    {"heads", d.heads},
                    {"kv_heads", d.kv_heads},
                    {"head_dim", d.head_dim},
                    {"vocab", d.vocab},
                    {"context", d.context},
                    {"tied", m.tied},
                    {"dtype", name_of(m.dtype)},
                    {"bpw", {{"all", bpw.all}, {"body", bpw.body}, {"embedding", bpw.embedding}}}};
  try {
    j["tokenizer_tokens"] = a.tokenizer().tokens.size();
  } catch (const Error& e) {
    j["tokenizer_error"] = e.what();
  }
  if (a.format != "checkpoint") {
    const TargetChoice choice = target_of(a);
    j["target"] = choice.text();
    j["rules"] = choice.target->rules();
  }
  return j;
}

// A folder with one GGUF file and no checkpoint means that file.
fs::path container_path(const fs::path& path) {
  if (!fs::is_directory(path) || is_checkpoint(path)) return path;
  const std::vector<fs::path> files = gguf_models_in(path);
  return files.size() == 1 ? files[0] : path;
}

}  // namespace

ordered_json inspect(const fs::path& given) {
  const fs::path path = container_path(given);
  ordered_json j = {{"path", given.string()}};
  const std::unique_ptr<Reader> reader = open_container(path);
  uint64_t bytes = 0;
  for (const fs::path& f : reader->files()) {
    j["files"].push_back({{"name", f.filename().string()}, {"bytes", fs::file_size(f)}});
    bytes += fs::file_size(f);
  }
  j["bytes"] = bytes;
  try {
    j["model"] = model_json(path);
  } catch (const Error& e) {
    j["model"] = {{"not_runnable", e.what()}};
  }
  j["metadata"] = ordered_json::object();
  for (const auto& [key, value] : reader->metadata()) j["metadata"][key] = to_json(value);
  j["tensors"] = ordered_json::array();
  for (const StoredTensor& t : reader->tensors()) {
    const int64_t n = elements(t.shape);
    j["tensors"].push_back(
        {{"name", t.name},
         {"type", t.type},
         {"shape", t.shape},
         {"bytes", t.bytes.size()},
         {"bits_per_element", n ? 8.0 * static_cast<double>(t.bytes.size()) / static_cast<double>(n) : 0}});
  }
  return j;
}

namespace {

// Of the model: a list goes below its heading, numbers of one kind into one line.
std::string readable(const std::string& key, const ordered_json& value) {
  if (value.is_array()) {
    std::string text = fmt::format("  {}\n", key);
    for (const ordered_json& each : value)
      text += fmt::format("    - {}\n", each.is_string() ? each.get<std::string>() : each.dump());
    return text;
  }
  if (value.is_object()) {
    std::vector<std::string> parts;
    for (const auto& [name, part] : value.items())
      parts.push_back(part.is_number_float() ? fmt::format("{} {:.4f}", name, part.get<double>())
                                             : fmt::format("{} {}", name, part.dump()));
    return fmt::format("  {:<18}{}\n", key, fmt::join(parts, ", "));
  }
  return fmt::format("  {:<18}{}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
}

}  // namespace

std::string inspection_text(const ordered_json& j) {
  std::string text = fmt::format("{}\n", j["path"].get<std::string>());
  for (const auto& f : j["files"])
    text += fmt::format("{}: {} bytes\n", f["name"].get<std::string>(), f["bytes"].get<uint64_t>());
  for (const auto& [key, value] : j["model"].items()) text += readable(key, value);
  if (!j["metadata"].empty()) text += "metadata\n";
  for (const auto& [key, value] : j["metadata"].items()) {
    std::string shown = value.dump();
    if (shown.size() > 100) shown = shown.substr(0, 97) + "...";
    text += fmt::format("  {:<42}{}\n", key, shown);
  }
  text += "tensors\n";
  for (const auto& t : j["tensors"])
    text += fmt::format("  {:<52}{:<8}{:<18}{:>14} bytes {:>8.4f} bits\n", t["name"].get<std::string>(),
                        t["type"].get<std::string>(), t["shape"].dump(), t["bytes"].get<uint64_t>(),
                        t["bits_per_element"].get<double>());
  return text;
}

void write_tensor_npy(const fs::path& model, const std::string& name, const fs::path& out) {
  const Artifact a = open_artifact(model);
  refuse_inputs(out, {.model = a.files});
  const StoredWeight* found = nullptr;
  for (const StoredWeight& w : a.weights->weights())
    if (w.file_name == name) found = &w;
  if (!found)
    fail(ErrorKind::usage, "{} has no tensor '{}'; `kerf inspect {}` lists its tensors", model.string(), name,
         model.string());
  AtomicFile file(out);
  file.append(as_bytes(npy_header(found->info.shape)));
  const bool vector = found->info.shape.size() == 1;  // decoded in one piece
  const int64_t rows = vector ? 1 : found->info.rows();
  std::vector<float> row(static_cast<size_t>(vector ? found->info.rows() : found->info.cols()));
  for (int64_t r = 0; r < rows; ++r) {
    if (vector)
      to_f32(found->info.dtype, found->bytes, row);
    else
      decode_file_row(*found, r, row);
    file.append(std::as_bytes(std::span(row)));
  }
  file.commit();
}

}  // namespace kerf
