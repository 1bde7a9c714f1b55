// Typed access to config.json: a missing or wrong key becomes a sentence with its name, what is there and what belongs
// there.
#include "model/arch/config_reader.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace kerf {
ConfigReader::ConfigReader(const nlohmann::json& object, std::string name, KeySpellings spellings)
    : object_(&object), name_(std::move(name)) {
  if (!spellings.empty()) spellings_ = std::make_shared<const KeySpellings>(std::move(spellings));
  if (!object.is_object()) fail(ErrorKind::bad_input, "{} must be a JSON object, not {}", name_, short_json(object));
}

const nlohmann::json* ConfigReader::find(const char* key) const {
  auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}
bool ConfigReader::has(const char* key) const { return find(key) != nullptr; }
bool ConfigReader::is_null(const char* key) const {
  const auto at = object_->find(key);
  return at != object_->end() && at->is_null();
}

std::string ConfigReader::spelled(const char* key) const {
  if (spellings_)
    if (const auto at = spellings_->find(pointer_ + "/" + key); at != spellings_->end()) return at->second;
  return fmt::format("\"{}\"", key);
}

const nlohmann::json& ConfigReader::at(const char* key) const {
  const nlohmann::json* v = find(key);
  if (!v) fail(ErrorKind::bad_input, "{} lacks the key {}", name_, spelled(key));
  return *v;
}

int64_t ConfigReader::size(const char* key, int64_t limit) const {
  const nlohmann::json& v = at(key);
  if (v.is_number_integer()) {
    // Past 2^63 the parser keeps a number as unsigned.
    const bool huge = v.is_number_unsigned() && v.get<uint64_t>() > static_cast<uint64_t>(limit);
    if (!huge && v.get<int64_t>() >= 1 && v.get<int64_t>() <= limit) return v.get<int64_t>();
  }
  fail(ErrorKind::bad_input, "{}: {} must be a whole number from 1 to {}, not {}", name_, spelled(key), limit,
       short_json(v));
}
int64_t ConfigReader::size_or(const char* key, int64_t otherwise) const { return has(key) ? size(key) : otherwise; }

double ConfigReader::number(const char* key) const {
  const nlohmann::json& v = at(key);
  if (v.is_number() && std::isfinite(v.get<double>())) return v.get<double>();
  fail(ErrorKind::bad_input, "{}: {} must be a finite number, not {}", name_, spelled(key), short_json(v));
}
double ConfigReader::number_or(const char* key, double otherwise) const { return has(key) ? number(key) : otherwise; }

bool ConfigReader::flag_or(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const nlohmann::json& v = at(key);
  if (v.is_boolean()) return v.get<bool>();
  fail(ErrorKind::bad_input, "{}: {} must be true or false, not {}", name_, spelled(key), short_json(v));
}

std::string ConfigReader::text(const char* key) const {
  const nlohmann::json& v = at(key);
  if (v.is_string()) return v.get<std::string>();
  fail(ErrorKind::bad_input, "{}: {} must be a string, not {}", name_, spelled(key), short_json(v));
}
std::string ConfigReader::text_or(const char* key, std::string otherwise) const {
  return has(key) ? text(key) : otherwise;
}

ConfigReader ConfigReader::object(const char* key) const {
  ConfigReader inner(at(key), spellings_ ? name_ : name_ + ": " + key);
  inner.pointer_ = pointer_ + "/" + key;
  inner.spellings_ = spellings_;
  return inner;
}

Dimensions read_dimensions(const ConfigReader& c, const DimensionDefaults& defaults) {
  // Limits keep every product of two of them, and of two with four bytes, far inside 64 bits.
  constexpr int64_t kLimit = int64_t{1} << 24;
  Dimensions d;
  d.hidden = c.size("hidden_size", kLimit);
  d.ffn = c.size("intermediate_size", kLimit);
  d.layers = c.size("num_hidden_layers", 1 << 16);
  d.heads = c.size("num_attention_heads", 1 << 16);
  if (c.has("num_key_value_heads"))
    d.kv_heads = c.size("num_key_value_heads", 1 << 16);
  else
    d.kv_heads = c.is_null("num_key_value_heads") || defaults.kv_heads == 0 ? d.heads : defaults.kv_heads;
  d.vocab = c.size("vocab_size", kLimit);
  d.context = c.size("max_position_embeddings");
  if (d.heads % d.kv_heads != 0)
    fail(ErrorKind::bad_input, "{}: {} ({}) must be a multiple of {} ({})", c.name(), c.spelled("num_attention_heads"),
         d.heads, c.spelled("num_key_value_heads"), d.kv_heads);
  if (c.has("head_dim")) {
    d.head_dim = c.size("head_dim", 1 << 16);
  } else if (defaults.head_dim > 0) {
    d.head_dim = defaults.head_dim;
  } else {
    if (d.hidden % d.heads != 0)
      fail(ErrorKind::bad_input, "{}: {} ({}) must be a multiple of {} ({}) unless {} is given", c.name(),
           c.spelled("hidden_size"), d.hidden, c.spelled("num_attention_heads"), d.heads, c.spelled("head_dim"));
    d.head_dim = d.hidden / d.heads;
  }
  if (d.head_dim % 2 != 0)
    fail(ErrorKind::bad_input, "{}: the size of a head ({}) must be even for rotary position embeddings", c.name(),
         d.head_dim);
  return d;
}

double read_theta(const ConfigReader& r, const char* key, double otherwise) {
  const double theta = r.number_or(key, otherwise);
  // Programs keep it in float32.
  if (!(theta > 0 && theta <= std::numeric_limits<float>::max()))
    fail(ErrorKind::bad_input, "{}: {} must be positive and fit float32, not {}", r.name(), r.spelled(key), theta);
  return theta;
}

RopeTable read_rope_object(const ConfigReader& r, RopeTable rope, int64_t context) {
  rope.theta = read_theta(r, "rope_theta", rope.theta);
  const std::string type = r.text_or("rope_type", r.text_or("type", "default"));
  const auto original = [&] { return r.size_or("original_max_position_embeddings", context); };
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::llama3;
    rope.low_freq_factor = r.number("low_freq_factor");
    rope.high_freq_factor = r.number("high_freq_factor");
    rope.original_context = original();
    if (!(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor))
      fail(ErrorKind::bad_input, "{}: \"high_freq_factor\" ({}) must be greater than \"low_freq_factor\" ({} > 0)",
           r.name(), rope.high_freq_factor, rope.low_freq_factor);
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::yarn;
    rope.original_context = original();
    rope.beta_fast = r.number_or("beta_fast", 32);
    rope.beta_slow = r.number_or("beta_slow", 1);
    rope.truncate = r.flag_or("truncate", true);
  } else if (type != "default") {
    fail(ErrorKind::unsupported,
         "{}: {} is \"{}\", which is not supported; supported are default, linear, llama3 and yarn", r.name(),
         r.spelled(r.has("rope_type") ? "rope_type" : "type"), type);
  }
  if (rope.scaling != RopeScaling::none) {
    rope.factor = r.number("factor");
    if (!(rope.factor > 0))
      fail(ErrorKind::bad_input, "{}: {} must be positive, not {}", r.name(), r.spelled("factor"), rope.factor);
  }
  if (rope.scaling == RopeScaling::yarn) {
    // The temperature of the attention, by YaRN's formula unless it is given (Peng et al., 2023, section 3.4).
    const auto magnitude = [&](double scale) {
      return rope.factor <= 1 ? 1.0 : 0.1 * scale * std::log(rope.factor) + 1;
    };
    const double m = r.number_or("mscale", 0), all = r.number_or("mscale_all_dim", 0);
    rope.attention_factor =
        r.number_or("attention_factor", m != 0 && all != 0 ? magnitude(m) / magnitude(all) : magnitude(1));
  }
  return rope;
}

RopeTable read_rope(const ConfigReader& c, double default_theta, int64_t context) {
  // transformers 5 keeps everything in rope_parameters; earlier versions had rope_theta beside rope_scaling, with
  // "type" before it was "rope_type". Where several are present transformers lets rope_scaling win.
  RopeTable rope;
  rope.theta = read_theta(c, "rope_theta", default_theta);
  const char* key = c.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (c.has(key)) rope = read_rope_object(c.object(key), rope, context);
  return rope;
}

nlohmann::ordered_json write_rope(const RopeTable& t) {
  constexpr const char* kNames[] = {"default", "linear", "llama3", "yarn"};
  nlohmann::ordered_json j = {{"rope_type", kNames[static_cast<size_t>(t.scaling)]}};
  if (t.scaling != RopeScaling::none) j["factor"] = t.factor;
  if (t.scaling == RopeScaling::llama3) {
    j["low_freq_factor"] = t.low_freq_factor;
    j["high_freq_factor"] = t.high_freq_factor;
  }
  if (t.scaling == RopeScaling::llama3 || t.scaling == RopeScaling::yarn)
    j["original_max_position_embeddings"] = t.original_context;
  if (t.scaling == RopeScaling::yarn) {
    j["beta_fast"] = t.beta_fast;
    j["beta_slow"] = t.beta_slow;
    j["truncate"] = t.truncate;
    j["attention_factor"] = t.attention_factor;
  }
  return j;
}

int64_t read_rotated(const ConfigReader& c, int64_t head_dim) {
  double share = c.number_or("partial_rotary_factor", 1);
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (c.has(key)) share = c.object(key).number_or("partial_rotary_factor", share);
  const double rotated = share * static_cast<double>(head_dim);
  if (!(share > 0 && share <= 1) || rotated < 2 || std::fmod(std::floor(rotated), 2) != 0)
    fail(
        ErrorKind::bad_input,
        "{}: \"partial_rotary_factor\" {} rotates {} of the {} numbers of a head; an even number from 2 to all of them "
        "belongs there",
        c.name(), share, rotated, head_dim);
  return static_cast<int64_t>(rotated);
}

void read_dtype_and_ids(const ConfigReader& c, Architecture& a) {
  const char* key = c.has("dtype") ? "dtype" : "torch_dtype";
  if (c.has(key)) {
    const std::string name = c.text(key);
    const std::optional<Dtype> dtype = dtype_from_torch_name(name);
    if (!dtype || (*dtype != Dtype::f32 && *dtype != Dtype::bf16 && *dtype != Dtype::f16))
      fail(ErrorKind::unsupported, "{}: \"{}\" is {}; supported are float32, bfloat16 and float16", c.name(), key,
           short_json(c.at(key)));
    a.dtype = *dtype;
  }
  auto id = [&](const char* name, const nlohmann::json& v) {
    if (!v.is_number_integer() || v.get<double>() < -2147483648.0 || v.get<double>() > 2147483647.0)
      fail(ErrorKind::bad_input, "{}: {} must hold token ids, not {}", c.name(), c.spelled(name), short_json(v));
    return v.get<int32_t>();
  };
  if (c.has("bos_token_id")) {
    const nlohmann::json& v = c.at("bos_token_id");
    const int32_t bos = id("bos_token_id", v.is_array() && v.size() == 1 ? v[0] : v);
    if (bos >= 0) a.bos = bos;
  }
  if (c.has("eos_token_id")) {
    const nlohmann::json& v = c.at("eos_token_id");
    for (const nlohmann::json& e : v.is_array() ? v : nlohmann::json::array({v})) {
      const int32_t eos = id("eos_token_id", e);
      if (eos >= 0) a.eos.push_back(eos);
    }
  }
}

void write_dtype_and_ids(const Architecture& a, nlohmann::ordered_json& c) {
  c["dtype"] = a.dtype == Dtype::bf16 ? "bfloat16" : a.dtype == Dtype::f16 ? "float16" : "float32";
  if (a.bos) c["bos_token_id"] = *a.bos;
  if (a.eos.size() == 1) c["eos_token_id"] = a.eos[0];
  if (a.eos.size() > 1) c["eos_token_id"] = a.eos;
}

}  // namespace kerf
