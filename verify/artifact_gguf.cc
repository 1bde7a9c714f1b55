// GGUF files of llama.cpp, made by anybody: keys become the config that the architecture plug-ins read, tensors get
// their checkpoint names back.
#include <fmt/ranges.h>

#include <set>

#include "core/error.h"
#include "formats/ggml_type.h"
#include "model/arch/family.h"
#include "targets/target.h"
#include "verify/artifact.h"

namespace kerf {
namespace {

// An f32 as the shortest decimal number that stands for it: 1e-05, and not 9.99999974737875e-06.
std::optional<double> number_of(const Reader& r, const std::string& key) {
  const MetaValue* value = r.find_metadata(key);
  if (const float* f = value ? std::get_if<float>(value) : nullptr) return std::stod(fmt::format("{}", *f));
  return r.get_number(key);
}

// An array of whole numbers or bools; nullopt for anything else.
std::optional<std::vector<int64_t>> integers_of(const Reader& r, const std::string& key) {
  const MetaValue* value = r.find_metadata(key);
  const MetaArray* array = value ? std::get_if<MetaArray>(value) : nullptr;
  if (!array) return std::nullopt;
  return std::visit(
      [](const auto& numbers) -> std::optional<std::vector<int64_t>> {
        if constexpr (requires { numbers.front() + int64_t{1}; }) {
          using T = typename std::decay_t<decltype(numbers)>::value_type;
          if constexpr (std::is_integral_v<T>) return std::vector<int64_t>(numbers.begin(), numbers.end());
        }
        return std::nullopt;
      },
      array->values);
}

GgufFacts facts_of(const Reader& r) {
  GgufFacts f{.file = r.path().string()};
  f.has_tensors = !r.tensors().empty();
  f.integers = [&r](const std::string& key) { return integers_of(r, key); };
  f.integer = [&r](const std::string& key) -> std::optional<int64_t> {
    const std::optional<std::vector<int64_t>> of_layers = integers_of(r, key);
    if (!of_layers || of_layers->empty()) return r.get_integer(key);
    for (const int64_t n : *of_layers)
      if (n != of_layers->front())
        fail(ErrorKind::unsupported, "{}: {} differs from layer to layer ({} and {}); kerf computes one number for all",
             r.path().string(), key, of_layers->front(), n);
    return of_layers->front();
  };
  f.number = [&r](const std::string& key) { return number_of(r, key); };
  f.text = [&r](const std::string& key) -> std::optional<std::string> {
    const auto* text = r.get<std::string>(key);
    return text ? std::optional(*text) : std::nullopt;
  };
  f.flag = [&r](const std::string& key) -> std::optional<bool> {
    const auto* flag = r.get<bool>(key);
    return flag ? std::optional(*flag) : std::nullopt;
  };
  f.shape = [&r](const std::string& name) {
    const StoredTensor* t = r.find(name);
    return t ? &t->shape : nullptr;
  };
  return f;
}

// Row (head, half h, pair j) of the checkpoint lies at (head, pair j, half h) of the file.
std::vector<int64_t> interleaved_rows(int64_t rows, int64_t head_dim) {
  std::vector<int64_t> file_row(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t head = r / head_dim, in_head = r % head_dim, half = in_head / (head_dim / 2);
    file_row[static_cast<size_t>(r)] = head * head_dim + 2 * (in_head % (head_dim / 2)) + half;
  }
  return file_row;
}

StoredWeight stored(const StoredTensor& t, std::string checkpoint_name, std::string_view file) {
  StoredWeight w{.info = {.name = std::move(checkpoint_name), .shape = t.shape},
                 .file_name = t.name,
                 .type = t.type,
                 .scheme = t.type,
                 .stored_bytes = t.bytes.size()};
  if (const auto plain = dtype_from_name(t.type)) {
    w.info.dtype = *plain;
    w.bytes = t.bytes;
    return w;
  }
  for (const PackedGemm* gemm : all_gemms())
    if (gemm->format == t.type) w.gemm = &find_gemm(t.type);
  if (!w.gemm || t.shape.size() != 2) {
    std::string known = "F32, F16, BF16";
    for (const PackedGemm* gemm : all_gemms())
      if (gemm->isa == Isa::ref && find_ggml_type(gemm->format)) known += fmt::format(", {}", gemm->format);
    fail(ErrorKind::unsupported, "{}: tensor {} is stored as {}, which kerf does not compute yet; it knows {}", file,
         t.name, t.type, known);
  }
  const int64_t row_bytes = t.shape[0] ? static_cast<int64_t>(t.bytes.size()) / t.shape[0] : 0;
  w.packed = {.rows = t.shape[0], .cols = t.shape[1], .codes = t.bytes.data(), .code_stride = row_bytes};
  return w;
}

// A number beside a matrix, blk.0.attn_q.scale of blk.0.attn_q.weight, by which llama.cpp multiplies its products (the
// scale of the whole tensor in NVFP4 files; src/llama-model.cpp reads it for every type). What llama.cpp calls
// input_scale has no effect on CPUs.
void add_output_scale(const Reader& r, const StoredTensor& t, StoredWeight& w) {
  constexpr std::string_view kWeight = ".weight";
  if (!t.name.ends_with(kWeight) || t.name == "token_embd.weight") return;
  const std::string name = t.name.substr(0, t.name.size() - kWeight.size()) + ".scale";
  const StoredTensor* scale = r.find(name);
  if (!scale) return;
  if (scale->type != "F32" || scale->bytes.size() != sizeof(float))
    fail(ErrorKind::bad_input, "{}: {} is {} of {} bytes; one number in F32 belongs there", r.path().string(), name,
         scale->type, scale->bytes.size());
  if (!w.gemm)
    fail(ErrorKind::unsupported,
         "{}: {} is a scale of plain numbers ({}); kerf knows scales of quantized matrices only", r.path().string(),
         name, t.type);
  to_f32(Dtype::f32, scale->bytes, std::span(&w.output_scale, 1));
  w.stored_bytes += scale->bytes.size();
}

// What the same block, or the file outside of blocks, holds instead of a tensor.
std::string others_beside(const Reader& r, const std::string& missing) {
  const std::string block = missing.starts_with("blk.") ? missing.substr(0, missing.find('.', 4) + 1) : "";
  const std::string fused = block + "attn_qkv.weight";
  if (missing.starts_with(block + "attn_") && r.find(fused))
    return fmt::format("; it holds {}, queries, keys and values in one matrix, which kerf does not take apart", fused);
  constexpr int kShown = 8;
  std::string names;
  int count = 0;
  for (const StoredTensor& t : r.tensors()) {
    const bool beside = block.empty() ? !t.name.starts_with("blk.") : t.name.starts_with(block);
    if (beside && count++ < kShown) names += (names.empty() ? "" : ", ") + t.name;
  }
  if (count == 0) return "; it has no tensor " + (block.empty() ? "outside of blocks" : block + "*");
  return fmt::format("; there are {}{}", names, count > kShown ? ", ..." : "");
}

// Before the tensors get the names of a checkpoint, so that sentences speak of the file.
void check_tensors_of_file(const Reader& r, const Architecture& a) {
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      const StoredTensor* t = r.find(expected.gguf);
      if (!t)
        fail(ErrorKind::bad_input, "{} has no tensor {} of shape [{}], which a {} of {} blocks needs{}",
             r.path().string(), expected.gguf, fmt::join(expected.shape, ", "), a.gguf_name, a.layers(),
             others_beside(r, expected.gguf));
      if (t->shape != expected.shape)
        fail(ErrorKind::bad_input, "{}: tensor {} has the shape [{}], and the keys {}.* imply [{}]", r.path().string(),
             t->name, fmt::join(t->shape, ", "), a.gguf_name, fmt::join(expected.shape, ", "));
    }
}

std::vector<StoredWeight> weights_of_file(const Reader& r, const Architecture& a) {
  std::vector<StoredWeight> weights;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      const StoredTensor* t = r.find(expected.gguf);
      weights.push_back(stored(*t, expected.name, r.path().string()));
      weights.back().info.plus = expected.gguf_plus;
      add_output_scale(r, *t, weights.back());
      if (expected.interleaved > 0)
        weights.back().file_row = interleaved_rows(weights.back().info.rows(), expected.interleaved);
    }
  return weights;
}

// llama.cpp loads no file with tensors that it does not use, and what it would compute with them is not known here.
void refuse_tensors_of_nobody(const Reader& r, const Architecture& a, std::span<const StoredWeight> used) {
  std::set<std::string_view> names = {"rope_freqs.weight"};
  for (const StoredWeight& w : used) names.insert(w.file_name);
  for (const StoredTensor& t : r.tensors()) {
    const std::string_view name = t.name;
    const auto of_a_matrix = [&](std::string_view suffix) {
      return name.ends_with(suffix) &&
             names.contains(std::string(name.substr(0, name.size() - suffix.size())) + ".weight");
    };
    if (names.contains(name) || of_a_matrix(".scale") || of_a_matrix(".input_scale")) continue;
    fail(ErrorKind::unsupported, "{}: nothing in a {} of {} blocks uses the tensor {}", r.path().string(), a.family,
         a.layers(), name);
  }
}

// What divides the frequencies of every rotation before the keys scale them.
void read_rope_factors(const StoredTensor& t, const std::string& file, Architecture& a) {
  for (Ops& ops : a.kinds)
    for (Op& op : ops)
      if (Rope* rope = std::get_if<Rope>(&op.what)) {
        rope->table.divisors.resize(t.bytes.size() / sizeof(float));
        to_f32(Dtype::f32, t.bytes, rope->table.divisors);
        if (t.type != "F32" || static_cast<int64_t>(rope->table.divisors.size()) != rope->rotated / 2)
          fail(ErrorKind::bad_input, "{}: rope_freqs.weight does not hold {} F32 values", file, rope->rotated / 2);
      }
}

}  // namespace

TokenizerSpec gguf_tokenizer(const Reader& r) {
  const std::string path = r.path().string();
  TokenizerSpec t;
  const std::string model = r.get_or<std::string>("tokenizer.ggml.model", "");
  if (model == "gpt2")
    t.kind = TokenizerSpec::Kind::byte_level_bpe;
  else if (model == "llama")
    t.kind = TokenizerSpec::Kind::spm_bpe;
  else
    fail(ErrorKind::unsupported, "{}: the tokenizer model '{}' is not supported; kerf knows gpt2 and llama", path,
         model);
  if (t.kind == TokenizerSpec::Kind::byte_level_bpe) t.pre = r.get_or<std::string>("tokenizer.ggml.pre", "default");
  const auto* tokens = r.get_array<std::string>("tokenizer.ggml.tokens");
  if (!tokens) fail(ErrorKind::bad_input, "{} has no key tokenizer.ggml.tokens", path);
  t.tokens = *tokens;
  t.types.assign(tokens->size(), TokenType::normal);
  if (const auto* types = r.get_array<int32_t>("tokenizer.ggml.token_type")) {
    if (types->size() != tokens->size())
      fail(ErrorKind::bad_input, "{}: {} token types for {} tokens", path, types->size(), tokens->size());
    for (size_t i = 0; i < types->size(); ++i) {
      if ((*types)[i] < 0 || (*types)[i] > 6)
        fail(ErrorKind::bad_input, "{}: token {} has the type {}; types are 1 to 6", path, i, (*types)[i]);
      t.types[i] = static_cast<TokenType>((*types)[i]);
    }
  }
  if (const auto* scores = r.get_array<float>("tokenizer.ggml.scores")) t.scores = *scores;
  if (const auto* merges = r.get_array<std::string>("tokenizer.ggml.merges")) t.merges = *merges;
  const auto id = [&](const char* key) -> std::optional<int32_t> {
    const auto v = r.get_integer(key);
    if (!v) return std::nullopt;
    if (*v < 0 || *v >= static_cast<int64_t>(t.tokens.size()))
      fail(ErrorKind::bad_input, "{}: {} is {}, outside of the {} tokens", path, key, *v, t.tokens.size());
    return static_cast<int32_t>(*v);
  };
  t.bos = id("tokenizer.ggml.bos_token_id");
  t.eos = id("tokenizer.ggml.eos_token_id");
  t.unk = id("tokenizer.ggml.unknown_token_id");
  t.pad = id("tokenizer.ggml.padding_token_id");
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto end = id(key); end && end != t.eos) t.ends.push_back(*end);
  const bool spm = t.kind == TokenizerSpec::Kind::spm_bpe;
  t.add_bos = r.get_or("tokenizer.ggml.add_bos_token", spm);
  t.add_eos = r.get_or("tokenizer.ggml.add_eos_token", false);
  t.add_space_prefix = r.get_or("tokenizer.ggml.add_space_prefix", spm);
  t.chat_template = r.get_or<std::string>("tokenizer.chat_template", "");
  return t;
}

Artifact open_gguf_artifact(const std::filesystem::path& file) {
  std::unique_ptr<Reader> reader = find_container("gguf").open(file);
  // Every layer has tensors of its own, so a count past theirs is a lie that would be walked for a long time.
  if (const auto* arch = reader->get<std::string>("general.architecture"); arch && !reader->tensors().empty())
    if (const auto blocks = reader->get_integer(*arch + ".block_count");
        blocks && *blocks > static_cast<int64_t>(reader->tensors().size()))
      fail(ErrorKind::bad_input, "{}: block_count is {}, and the file has {} tensors", file.string(), *blocks,
           reader->tensors().size());
  Artifact a{.path = file,
             .format = std::string(kGgufFormat),
             .target = "llama.cpp-cpu",
             .architecture = describe_gguf(facts_of(*reader))};
  if (const StoredTensor* t = reader->find("rope_freqs.weight")) read_rope_factors(*t, file.string(), a.architecture);
  a.arithmetic = find_target(a.target).arithmetic(a.architecture.dtype);
  a.gguf_rounding = true;
  a.tokenizer = TokenizerSource([r = reader.get()] { return gguf_tokenizer(*r); });
  // llama.cpp takes the number of tokens for that of the embedding's rows.
  if (const auto* tokens = reader->get_array<std::string>("tokenizer.ggml.tokens");
      tokens && static_cast<int64_t>(tokens->size()) != a.architecture.vocab())
    fail(ErrorKind::bad_input, "{}: {} tokens for an embedding of {} rows; llama.cpp would not load the file",
         file.string(), tokens->size(), a.architecture.vocab());
  a.files = reader->files();
  for (const auto& f : a.files) a.bytes += std::filesystem::file_size(f);
  check_tensors_of_file(*reader, a.architecture);
  std::vector<StoredWeight> weights = weights_of_file(*reader, a.architecture);
  refuse_tensors_of_nobody(*reader, a.architecture, weights);
  a.weights = std::make_unique<StoredWeights>(std::move(reader), std::move(weights));
  return a;
}

}  // namespace kerf
