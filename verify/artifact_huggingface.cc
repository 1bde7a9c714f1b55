// Checkpoints as on the Hugging Face hub: full precision, or quantized in one of the stored formats.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "model/arch/family.h"
#include "model/text/tokenizer_tables.h"
#include "targets/target.h"
#include "verify/artifact.h"
#include "verify/checkpoint.h"
#include "verify/stored.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

StoredWeight plain(const StoredTensor& t, const std::string& file) {
  const auto dtype = dtype_from_name(t.type);
  if (!dtype) fail(ErrorKind::bad_input, "{}: tensor {} has the unknown type {}", file, t.name, t.type);
  return {.info = {.name = t.name, .dtype = *dtype, .shape = t.shape},
          .file_name = t.name,
          .type = t.type,
          .bytes = t.bytes,
          .stored_bytes = t.bytes.size()};
}

// The formats that the quantization_config announces.
std::vector<const StoredFormat*> formats_of(const QuantizedRepository& r) {
  std::vector<const StoredFormat*> formats;
  std::string known;
  for (const StoredFormat* f : all_storeds()) {
    if (f->recognises(r)) formats.push_back(f);
    known += fmt::format("{}{}", known.empty() ? "" : ", ", f->name);
  }
  if (formats.empty())
    fail(ErrorKind::unsupported, "{}: kerf does not read the quantization \"{}\"; it knows {}", r.config_file,
         fmt::format("{}{}{}", r.text("quant_method"), r.text("format").empty() ? "" : " ", r.text("format")), known);
  return formats;
}

std::vector<StoredWeight> quantized(const QuantizedRepository& r, std::span<const StoredFormat* const> formats) {
  std::vector<StoredWeight> weights;
  for (const StoredTensor& t : r.reader.tensors()) {
    const auto owner =
        std::find_if(formats.begin(), formats.end(), [&](const StoredFormat* f) { return f->owns(r, t); });
    if (owner == formats.end())
      weights.push_back(plain(t, r.reader.path().string()));
    else if (auto w = (*owner)->weight(r, t))
      weights.push_back(std::move(*w));
  }
  return weights;
}

// A weight that is some rows of a tensor of plain numbers, or its transpose.
StoredWeight part_of(const StoredWeight& whole, const ExpectedTensor& expected) {
  const StoredAs& as = expected.stored;
  if (whole.gemm || whole.decode)
    fail(ErrorKind::unsupported, "{} is a part of {}, which is quantized; kerf takes apart plain numbers only",
         expected.name, as.tensor);
  StoredWeight w = whole;
  w.info.name = expected.name;
  const int64_t rows = as.transposed ? whole.info.cols() : whole.info.rows();
  const int64_t end = as.row_end < 0 ? rows : as.row_end;
  if (as.row_begin > end || end > rows)
    fail(ErrorKind::bad_input, "tensor {} has {} {}, and config.json implies {} to {} of it", as.tensor, rows,
         as.transposed ? "columns" : "rows", as.row_begin, end);
  if (as.transposed) {
    w.info.shape = {end - as.row_begin, whole.info.rows()};
    w.stored_bytes = static_cast<uint64_t>(bytes_of(whole.info.dtype, w.info.elements()));
    w.decode = [whole, first = as.row_begin](int64_t row, std::span<float> out) {
      const auto bytes = static_cast<size_t>(bytes_of(whole.info.dtype, 1));
      for (size_t k = 0; k < out.size(); ++k) {
        const size_t at = k * static_cast<size_t>(whole.info.cols()) + static_cast<size_t>(first + row);
        to_f32(whole.info.dtype, whole.bytes.subspan(at * bytes, bytes), out.subspan(k, 1));
      }
    };
    return w;
  }
  const auto row_bytes = static_cast<size_t>(bytes_of(whole.info.dtype, whole.info.cols()));
  w.info.shape[0] = end - as.row_begin;
  w.bytes = whole.bytes.subspan(static_cast<size_t>(as.row_begin) * row_bytes,
                                static_cast<size_t>(w.info.shape[0]) * row_bytes);
  w.stored_bytes = w.bytes.size();
  return w;
}

// Weights as the architecture speaks of them: parts of tensors by names of their own, and what is added to each number.
void describe_weights(const Architecture& a, std::vector<StoredWeight>& weights) {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < weights.size(); ++i) index.emplace(weights[i].info.name, i);
  std::set<size_t> taken_apart;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      const auto at = index.find(expected.stored.tensor);
      if (at == index.end()) continue;
      if (expected.name == expected.stored.tensor && !expected.stored.transposed) {
        weights[at->second].info.plus = expected.plus;
        continue;
      }
      weights.push_back(part_of(weights[at->second], expected));
      weights.back().info.plus = expected.plus;
      taken_apart.insert(at->second);
    }
  for (auto i = taken_apart.rbegin(); i != taken_apart.rend(); ++i)
    weights.erase(weights.begin() + static_cast<std::ptrdiff_t>(*i));
}

// A checkpoint of the base model alone is read as the causal one, which has a head besides.
void read_class(const json& config, Artifact& a) {
  const std::string causal(causal_class(a.architecture));
  const auto classes = config.find("architectures");
  if (classes == config.end() || !classes->is_array() || classes->empty() ||
      std::find(classes->begin(), classes->end(), causal) != classes->end())
    return;
  a.config_changes["architectures"] = json::array({causal}).dump();
  note(fmt::format("{}: config.json describes {}; it is read as {}", a.path.string(), short_json((*classes)[0]),
                   causal));
}

}  // namespace

StoredWeight packed_weight(const std::string& module, int64_t out, int64_t in) {
  StoredWeight w;
  w.info.name = w.file_name = module + ".weight";
  w.info.shape = {out, in};
  return w;
}

int64_t QuantizedRepository::group_size(int64_t in, int64_t scales) const {
  if (scales > 1) return in / scales;
  const auto says = [&](const nlohmann::json& part) {
    const auto size = part.is_object() ? part.find("group_size") : part.end();
    return part.is_object() && size != part.end() && *size == in;
  };
  bool named = says(quantization);
  if (const auto groups = quantization.find("config_groups"); groups != quantization.end() && groups->is_object())
    for (const auto& [name, group] : groups->items())
      named = named || (group.is_object() && group.contains("weights") && says(group["weights"]));
  return named ? in : 0;
}

std::string QuantizedRepository::text(const char* key) const {
  const auto at = quantization.find(key);
  return at != quantization.end() && at->is_string() ? at->get<std::string>() : "";
}

Artifact open_huggingface_artifact(const fs::path& path) {
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  const fs::path config_file = folder / "config.json";
  if (!fs::exists(config_file))
    fail(ErrorKind::io,
         "{} has no config.json beside it; a checkpoint is a folder with config.json, safetensors and a "
         "tokenizer",
         path.string());
  refuse_stand_ins(folder);
  const json config = read_json_object(config_file);
  Artifact a{.path = path, .format = std::string(kCheckpointFormat), .architecture = describe_architecture(config)};
  read_class(config, a);
  std::unique_ptr<Reader> reader = find_container("safetensors").open(path);
  refuse_adapter_tensors(*reader);
  std::vector<StoredWeight> weights;
  const QuantizationSource quantization = read_quantization(folder, config, *reader);
  if (quantization.config.is_null()) {
    for (const StoredTensor& t : reader->tensors()) weights.push_back(plain(t, reader->path().string()));
  } else {
    const QuantizedRepository repository{*reader, quantization.config, quantization.file, a.architecture.dtype};
    const auto formats = formats_of(repository);
    a.format = formats[0]->family;
    a.target = formats[0]->target;
    a.arithmetic = find_target(a.target).arithmetic(a.architecture.dtype);
    weights = quantized(repository, formats);
  }
  strip_prefixes(a, weights);
  find_tied_embedding(a, weights);
  refuse_codes(a, *reader, weights);
  describe_weights(a.architecture, weights);
  a.files = reader->files();
  for (const auto& f : a.files) a.bytes += fs::file_size(f);
  a.weights = std::make_unique<StoredWeights>(std::move(reader), std::move(weights));
  untie_different_head(a);
  check_tensors(a.architecture, *a.weights);
  remark_on_adapter(folder, a);
  a.tokenizer = TokenizerSource([folder, rows = a.architecture.vocab()] {
    TokenizerSpec spec = read_tokenizer_spec(folder);
    drop_tokens_past(spec, rows);
    return spec;
  });
  return a;
}

}  // namespace kerf
