#include "pipeline/repository/hub_companions.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "model/arch/family.h"
#include "model/text/tokenizer_side_file.h"
#include "model/text/tokenizer_tables.h"
#include "pipeline/report/source_identity.h"
#include "pipeline/repository/export_gguf.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

// rope_freqs.weight of Llama 3.1 and later holds what these settings give; their factor is the largest divisor.
std::optional<RopeTable> as_llama3(const Rope& rope) {
  const std::vector<float>& given = rope.table.divisors;
  RopeTable t = rope.table;
  t.divisors.clear();
  t.scaling = RopeScaling::llama3;
  t.factor = *std::max_element(given.begin(), given.end());
  t.low_freq_factor = 1;
  t.high_freq_factor = 4;
  t.original_context = 8192;
  const std::vector<float> implied = Rope{t, rope.rotated}.divisors();
  for (size_t i = 0; i < given.size(); ++i)
    if (std::abs(implied[i] - given[i]) > 1e-5F * given[i]) return std::nullopt;
  return t;
}

Architecture in_words_of_a_config(const Artifact& source) {
  Architecture a = source.architecture;
  for (Ops& ops : a.kinds)
    for (Op& op : ops) {
      Rope* rope = std::get_if<Rope>(&op.what);
      if (!rope || rope->table.divisors.empty()) continue;
      const auto table = rope->table.scaling == RopeScaling::none ? as_llama3(*rope) : std::nullopt;
      if (!table)
        fail(ErrorKind::unsupported,
             "{}: rope_freqs.weight divides the rotations as no rope_scaling of a config.json does; choose a GGUF "
             "target",
             source.path.string());
      rope->table = *table;
    }
  return a;
}

// Spelled with spaces: user-defined tokens of a GGUF have them for U+2581.
std::string with_spaces(std::string token) {
  constexpr std::string_view kMetaspace = "\xE2\x96\x81";
  for (size_t at = 0; (at = token.find(kMetaspace, at)) != std::string::npos;)
    token.replace(at, kMetaspace.size(), " ");
  return token;
}

void check_same_tokens(const Artifact& source, const fs::path& file, const TokenizerSpec& beside) {
  const TokenizerSpec& spec = source.tokenizer();
  const std::vector<std::string>&mine = spec.tokens, &theirs = beside.tokens;
  const auto differ = [&](size_t id, const std::string& a, const std::string& b) {
    fail(ErrorKind::bad_input, "{} is of another model: token {} is '{}' there and '{}' in {}", file.string(), id, b, a,
         source.path.string());
  };
  for (size_t id = 0; id < std::max(mine.size(), theirs.size()); ++id) {
    const bool unused = id < mine.size() && spec.types[id] == TokenType::unused;
    if (id >= theirs.size()) {
      if (!unused) differ(id, mine[id], "missing");
    } else if (id >= mine.size()) {
      differ(id, "missing", theirs[id]);
    } else if (!unused && with_spaces(mine[id]) != with_spaces(theirs[id])) {
      differ(id, mine[id], theirs[id]);
    }
  }
}

}  // namespace

ordered_json config_of(const Artifact& source) {
  if (source.format == kGgufFormat) return write_config(in_words_of_a_config(source));
  const fs::path file = folder_of_model(source.path) / "config.json";
  ordered_json config = parse_ordered_json(read_text(file), file.string());
  config.erase("quantization_config");
  for (const auto& [key, value] : source.config_changes) config[key] = parse_ordered_json(value, key);
  return config;
}

ordered_json generation_config_of(const Artifact& source) {
  if (source.format != kGgufFormat) return nullptr;
  const TokenizerSpec& spec = source.tokenizer();
  const SideFile beside(folder_of_model(source.path), kGenerationConfig);
  std::vector<int64_t> ends = beside.ids("eos_token_id");
  const size_t known = ends.size();
  // The maker of the model knows which texts end one; the keys are somebody's decision as well.
  for (const int32_t id : known ? ends_by_key(spec) : ends_in_llama_cpp(spec))
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  if (ends.size() < 2 || ends.size() == known) return nullptr;
  ordered_json config = ordered_json::object();
  if (!beside.content().is_null()) config = parse_ordered_json(read_text(beside.name()), beside.name());
  note(fmt::format("{} says that texts end at the tokens {}, as llama.cpp ends them with {}", kGenerationConfig,
                   fmt::join(ends, ", "), source.path.string()));
  config.erase("_from_model_config");  // it no longer is
  // Loaders that find the file take none of these from config.json.
  if (spec.bos && !config.contains("bos_token_id")) config["bos_token_id"] = *spec.bos;
  config["eos_token_id"] = ends;
  if (spec.pad && !config.contains("pad_token_id")) config["pad_token_id"] = *spec.pad;
  return config;
}

void check_hub_source(const Artifact& source) {
  if (source.format != kGgufFormat) return;
  (void)config_of(source);
  const fs::path file = folder_of_model(source.path) / "tokenizer.json";
  if (!fs::exists(file))
    fail(ErrorKind::unsupported,
         "{} has no tokenizer.json beside it, which the target's repository needs and which cannot be made of a GGUF's "
         "tables exactly; put the files tokenizer*.json of the original model there, or choose a GGUF target",
         source.path.string());
  TokenizerSpec beside = read_tokenizer_spec(folder_of_model(source.path));
  drop_tokens_past(beside, source.architecture.vocab());
  check_same_tokens(source, file, beside);
}

}  // namespace kerf
