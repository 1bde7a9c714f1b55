// Typed access to config.json: a missing or wrong key becomes a sentence with its name, what is there and what belongs
// there.
#include "model/arch/config_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace kerf {
ConfigReader::ConfigReader(const nlohmann::json& object, std::string name) : object_(&object), name_(std::move(name)) {
  if (!object.is_object()) fail(ErrorKind::bad_input, "{} must be a JSON object, not {}", name_, short_json(object));
}

const nlohmann::json* ConfigReader::find(const char* key) const {
  auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}
bool ConfigReader::has(const char* key) const { return find(key) != nullptr; }

const nlohmann::json& ConfigReader::at(const char* key) const {
  const nlohmann::json* v = find(key);
  if (!v) fail(ErrorKind::bad_input, "{} lacks the key \"{}\"", name_, key);
  return *v;
}

int64_t ConfigReader::size(const char* key, int64_t limit) const {
  const nlohmann::json& v = at(key);
  if (v.is_number_integer()) {
    // Past 2^63 the parser keeps a number as unsigned.
    const bool huge = v.is_number_unsigned() && v.get<uint64_t>() > static_cast<uint64_t>(limit);
    if (!huge && v.get<int64_t>() >= 1 && v.get<int64_t>() <= limit) return v.get<int64_t>();
  }
  fail(ErrorKind::bad_input, "{}: \"{}\" must be a whole number from 1 to {}, not {}", name_, key, limit,
       short_json(v));
}
int64_t ConfigReader::size_or(const char* key, int64_t otherwise) const { return has(key) ? size(key) : otherwise; }

double ConfigReader::number(const char* key) const {
  const nlohmann::json& v = at(key);
  if (v.is_number() && std::isfinite(v.get<double>())) return v.get<double>();
  fail(ErrorKind::bad_input, "{}: \"{}\" must be a finite number, not {}", name_, key, short_json(v));
}
double ConfigReader::number_or(const char* key, double otherwise) const { return has(key) ? number(key) : otherwise; }

bool ConfigReader::flag_or(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const nlohmann::json& v = at(key);
  if (v.is_boolean()) return v.get<bool>();
  fail(ErrorKind::bad_input, "{}: \"{}\" must be true or false, not {}", name_, key, short_json(v));
}

std::string ConfigReader::text(const char* key) const {
  const nlohmann::json& v = at(key);
  if (v.is_string()) return v.get<std::string>();
  fail(ErrorKind::bad_input, "{}: \"{}\" must be a string, not {}", name_, key, short_json(v));
}
std::string ConfigReader::text_or(const char* key, std::string otherwise) const {
  return has(key) ? text(key) : otherwise;
}

ConfigReader ConfigReader::object(const char* key) const { return {at(key), name_ + ": " + key}; }

void read_dimensions(const ConfigReader& c, Architecture& a) {
  // Limits keep every product of two of them, and of two with four bytes, far inside 64 bits.
  constexpr int64_t kLimit = int64_t{1} << 24;
  a.hidden = c.size("hidden_size", kLimit);
  a.ffn = c.size("intermediate_size", kLimit);
  a.layers = c.size("num_hidden_layers", 1 << 16);
  a.heads = c.size("num_attention_heads", 1 << 16);
  a.kv_heads = c.has("num_key_value_heads") ? c.size("num_key_value_heads", 1 << 16) : a.heads;
  a.vocab = c.size("vocab_size", kLimit);
  a.context = c.size("max_position_embeddings");
  if (a.heads % a.kv_heads != 0)
    fail(ErrorKind::bad_input, "{}: \"num_attention_heads\" ({}) must be a multiple of \"num_key_value_heads\" ({})",
         c.name(), a.heads, a.kv_heads);
  if (c.has("head_dim")) {
    a.head_dim = c.size("head_dim", 1 << 16);
  } else {
    if (a.hidden % a.heads != 0)
      fail(ErrorKind::bad_input,
           "{}: \"hidden_size\" ({}) must be a multiple of \"num_attention_heads\" ({}) unless \"head_dim\" is given",
           c.name(), a.hidden, a.heads);
    a.head_dim = a.hidden / a.heads;
  }
  if (a.head_dim % 2 != 0)
    fail(ErrorKind::bad_input, "{}: the size of a head ({}) must be even for rotary position embeddings", c.name(),
         a.head_dim);
  a.attention_scale = 1 / std::sqrt(static_cast<double>(a.head_dim));
}

Rope read_rope(const ConfigReader& c, double default_theta, int64_t context) {
  Rope rope;
  // transformers 5 keeps everything in rope_parameters; earlier versions had rope_theta beside rope_scaling, with
  // "type" before it was "rope_type". Where several are present transformers lets rope_scaling win.
  const char* key = c.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  rope.theta = c.number_or("rope_theta", default_theta);
  double rotated = c.number_or("partial_rotary_factor", 1);
  if (c.has(key)) {
    const ConfigReader r = c.object(key);
    rope.theta = r.number_or("rope_theta", rope.theta);
    rotated = r.number_or("partial_rotary_factor", rotated);
    const std::string type = r.text_or("rope_type", r.text_or("type", "default"));
    if (type == "linear") {
      rope.scaling = RopeScaling::linear;
    } else if (type == "llama3") {
      rope.scaling = RopeScaling::llama3;
      rope.low_freq_factor = r.number("low_freq_factor");
      rope.high_freq_factor = r.number("high_freq_factor");
      rope.original_context = r.size_or("original_max_position_embeddings", context);
      if (!(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor))
        fail(ErrorKind::bad_input, "{}: \"high_freq_factor\" ({}) must be greater than \"low_freq_factor\" ({} > 0)",
             r.name(), rope.high_freq_factor, rope.low_freq_factor);
    } else if (type != "default") {
      fail(ErrorKind::unsupported, "{}: RoPE type \"{}\" is not supported; supported are default, linear and llama3",
           r.name(), type);
    }
    if (rope.scaling != RopeScaling::none) {
      rope.factor = r.number("factor");
      if (!(rope.factor > 0))
        fail(ErrorKind::bad_input, "{}: \"factor\" must be positive, not {}", r.name(), rope.factor);
    }
  }
  if (!(rope.theta > 0))
    fail(ErrorKind::bad_input, "{}: \"rope_theta\" must be positive, not {}", c.name(), rope.theta);
  if (rotated != 1)
    fail(ErrorKind::unsupported, "{}: \"partial_rotary_factor\" {} is not supported, only 1 (whole heads are rotated)",
         c.name(), rotated);
  return rope;
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
    if (!v.is_number_integer() || v.get<double>() < -1 || v.get<double>() > 2147483647.0)
      fail(ErrorKind::bad_input, "{}: \"{}\" must hold token ids, not {}", c.name(), name, short_json(v));
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

}  // namespace kerf
