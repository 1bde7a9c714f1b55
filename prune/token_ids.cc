// Keys as transformers has them: configuration_utils.py, generation/configuration_utils.py.
#include "prune/token_ids.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "prune/vocabulary.h"

namespace kerf {
namespace {

using json = nlohmann::ordered_json;

struct IdKey {
  std::string_view name;
  int at = -1;          // the place of the ids in each element, -1: the element is ids
  bool needed = false;  // or only ruled out
};
constexpr std::array kIdKeys = {
    IdKey{"suppress_tokens"},           IdKey{"begin_suppress_tokens"},       IdKey{"bad_words_ids"},
    IdKey{"sequence_bias", 0},                                                 // [[ids], bias]
    IdKey{"force_words_ids", -1, true}, IdKey{"forced_decoder_ids", 1, true},  // [position, id]
    IdKey{"lang_to_id", -1, true},      IdKey{"task_to_id", -1, true},
};

std::optional<IdKey> id_key(std::string_view name) {
  for (const std::string_view suffix : {"_token_id", "_token_ids", "_token_index"})
    if (name.ends_with(suffix)) return IdKey{name, -1, true};
  const auto at = std::find_if(kIdKeys.begin(), kIdKeys.end(), [&](const IdKey& k) { return k.name == name; });
  return at == kIdKeys.end() ? std::nullopt : std::optional(*at);
}

/// f(key, value) for each value that holds ids, at any depth.
template <class Json, class F>
void for_id_values(Json& v, F&& f) {
  if (v.is_object()) {
    for (auto at = v.begin(); at != v.end(); ++at) {
      if (const auto key = id_key(at.key()))
        f(*key, at.value());
      else
        for_id_values(at.value(), f);
    }
  } else if (v.is_array()) {
    for (auto& each : v) for_id_values(each, f);
  }
}

/// f(id) for each id in an element; negative numbers are none.
template <class Json, class F>
void for_ids(Json& element, int at, F&& f) {
  if (at >= 0) {
    if (element.is_array() && element.size() > static_cast<size_t>(at))
      for_ids(element[static_cast<size_t>(at)], -1, f);
  } else if (element.is_structured()) {
    for (auto& each : element) for_ids(each, -1, f);
  } else if (element.is_number_unsigned() || (element.is_number_integer() && element.template get<int64_t>() >= 0)) {
    f(element);
  }
}

}  // namespace

std::optional<int32_t> new_id(std::span<const int32_t> kept, int64_t id) {
  const auto at = std::lower_bound(kept.begin(), kept.end(), id);
  if (at == kept.end() || *at != id) return std::nullopt;
  return static_cast<int32_t>(at - kept.begin());
}

std::vector<int64_t> named_ids(const json& config) {
  std::vector<int64_t> ids;
  for_id_values(config, [&](const IdKey& key, const json& value) {
    if (!key.needed) return;
    const auto take = [&](const json& id) { ids.push_back(id.get<int64_t>()); };
    if (value.is_structured())
      for (const json& each : value) for_ids(each, key.at, take);
    else
      for_ids(value, key.at, take);
  });
  return ids;
}

json renumbered_ids(json config, std::span<const int32_t> kept, int64_t rows) {
  /// Whether all ids of the element are there.
  const auto renumber = [&](json& element, int at) {
    bool all = true;
    for_ids(element, at, [&](json& id) {
      if (const auto to = new_id(kept, id.get<int64_t>()))
        id = *to;
      else
        all = false;
    });
    return all;
  };
  for_id_values(config, [&](const IdKey& key, json& value) {
    if (!value.is_structured()) {
      if (!renumber(value, -1)) value = nullptr;
      return;
    }
    for (auto each = value.begin(); each != value.end();)
      if (renumber(*each, key.at))
        ++each;
      else
        each = value.erase(each);
  });
  for (json* holder : {&config, config.contains("text_config") ? &config["text_config"] : &config})
    if (holder->is_object() && holder->contains("vocab_size")) (*holder)["vocab_size"] = rows;
  return config;
}

}  // namespace kerf
