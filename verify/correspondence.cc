#include "verify/correspondence.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

template <class Int>
std::vector<Int> read_list(const json& v, const std::string& name) {
  if (!v.is_array()) fail(ErrorKind::bad_input, "{} must be a list of whole numbers, not {}", name, short_json(v));
  std::vector<Int> list;
  list.reserve(v.size());
  for (const json& item : v) {
    const bool whole = item.is_number_unsigned() && item.get<uint64_t>() <= uint64_t{INT32_MAX};
    if (!whole || (!list.empty() && static_cast<Int>(item.get<uint64_t>()) <= list.back()))
      fail(ErrorKind::bad_input, "{}: entry {} is {}; entries are whole numbers, each greater than the one before",
           name, list.size(), short_json(item));
    list.push_back(static_cast<Int>(item.get<uint64_t>()));
  }
  if (list.empty()) fail(ErrorKind::bad_input, "{} keeps nothing; leave the key out where all is kept", name);
  return list;
}

// One list, or a list of them that are equally long: one for each layer.
std::vector<std::vector<int64_t>> read_lists(const json& v, const std::string& name) {
  if (!v.is_array() || v.empty() || !v[0].is_array()) return {read_list<int64_t>(v, name)};
  std::vector<std::vector<int64_t>> lists;
  for (const json& item : v) {
    lists.push_back(read_list<int64_t>(item, fmt::format("{}: list {}", name, lists.size())));
    if (lists.back().size() != lists[0].size())
      fail(ErrorKind::bad_input, "{}: list {} has {} entries, and list 0 has {}; all layers keep as many", name,
           lists.size() - 1, lists.back().size(), lists[0].size());
  }
  return lists;
}

}  // namespace

Correspondence read_correspondence(const fs::path& packed) {
  const fs::path file = (fs::is_directory(packed) ? packed : packed.parent_path()) / kCorrespondenceFile;
  Correspondence c;
  if (!fs::exists(file)) return c;
  const json j = read_json_object(file, uint64_t{256} << 20);
  const std::string name = file.string();
  for (const auto& [key, value] : j.items()) {
    if (key == "version") {
      if (value != 1) fail(ErrorKind::bad_input, "{}: version {}; kerf knows 1", name, short_json(value));
    } else if (key == "layers") {
      c.layers = read_list<int64_t>(value, name + ": layers");
    } else if (key == "tokens") {
      c.tokens = read_list<int32_t>(value, name + ": tokens");
    } else if (key == "axes") {
      if (!value.is_object()) fail(ErrorKind::bad_input, "{}: axes must be an object, not {}", name, short_json(value));
      for (const auto& [axis, list] : value.items())
        c.axes[axis] = read_lists(list, fmt::format("{}: axes: {}", name, axis));
    } else {
      fail(ErrorKind::bad_input, "{}: unknown key \"{}\"; keys are version, layers, axes, tokens", name, key);
    }
  }
  return c;
}

nlohmann::ordered_json to_json(const Correspondence& c) {
  nlohmann::ordered_json j = {{"version", 1}};
  if (!c.layers.empty()) j["layers"] = c.layers;
  for (const auto& [axis, lists] : c.axes) {
    if (lists.size() == 1)
      j["axes"][axis] = lists[0];
    else
      j["axes"][axis] = lists;
  }
  if (!c.tokens.empty()) j["tokens"] = c.tokens;
  return j;
}

void check_correspondence(const Correspondence& c, const NamedShape& original, const NamedShape& packed) {
  const Architecture &o = original.architecture, &p = packed.architecture;
  const std::vector<int64_t>* const none = nullptr;
  const auto check = [&](std::string_view what, const std::string& key, const auto* list, int64_t in_original,
                         int64_t in_packed) {
    if (!list || list->empty()) {
      if (in_original == in_packed) return;
      const std::string remedy =
          key.empty() ? "" : fmt::format("; a {} beside it may say which were kept (\"{}\")", kCorrespondenceFile, key);
      fail(ErrorKind::bad_input, "{} is not a compressed {}: its {} is {}, not {}{}", packed.name, original.name, what,
           in_packed, in_original, remedy);
    }
    if (static_cast<int64_t>(list->size()) != in_packed)
      fail(ErrorKind::bad_input, "{}: the correspondence keeps {} under \"{}\", and the model's {} is {}", packed.name,
           list->size(), key, what, in_packed);
    for (size_t i = 0; i < list->size(); ++i)
      if ((*list)[i] < 0 || static_cast<int64_t>((*list)[i]) >= in_original || (i && (*list)[i] <= (*list)[i - 1]))
        fail(ErrorKind::bad_input, "{}: the correspondence says {} under \"{}\", where {} has 0 to {}, in order",
             packed.name, (*list)[i], key, original.name, in_original - 1);
  };
  check("number of layers", "layers", &c.layers, o.layers(), p.layers());
  std::string known;
  for (const Axis& axis : o.axes) {
    if (axis.name == "vocab") continue;
    known += (known.empty() ? "" : ", ") + axis.name;
    const auto same = std::find_if(p.axes.begin(), p.axes.end(), [&](const Axis& x) { return x.name == axis.name; });
    if (same == p.axes.end())
      fail(ErrorKind::bad_input, "{} is not a compressed {}: it has no axis \"{}\"", packed.name, original.name,
           axis.name);
    const auto kept = c.axes.find(axis.name);
    const auto check_lists = [&](const std::string& what, int64_t in_original, int64_t in_packed) {
      const std::string key = "axes: " + axis.name;
      if (kept == c.axes.end()) return check(what, key, none, in_original, in_packed);
      if (const auto n = static_cast<int64_t>(kept->second.size()); n != 1 && n != p.layers())
        fail(ErrorKind::bad_input,
             "{}: the correspondence has {} lists under \"{}\" for {} layers; one for all or one "
             "for each",
             packed.name, n, key, p.layers());
      for (const std::vector<int64_t>& list : kept->second) check(what, key, &list, in_original, in_packed);
    };
    if (axis.groups > 1) {
      check(fmt::format("group size of \"{}\"", axis.name), "", none, axis.group_size(), same->group_size());
      check_lists(fmt::format("number of groups of \"{}\"", axis.name), axis.groups, same->groups);
    } else {
      check_lists(fmt::format("size of \"{}\"", axis.name), axis.size, same->size);
    }
  }
  for (const auto& [name, list] : c.axes)
    if (std::none_of(o.axes.begin(), o.axes.end(), [&n = name](const Axis& x) { return x.name == n && n != "vocab"; }))
      fail(ErrorKind::bad_input, "{}: the correspondence names the axis \"{}\"; {} has {}", packed.name, name,
           original.name, known);
  check("vocabulary", "tokens", &c.tokens, o.vocab(), p.vocab());
}

Windows to_packed_ids(const Correspondence& c, const Windows& original, int64_t original_vocab) {
  if (c.tokens.empty()) return original;
  std::vector<int32_t> packed(static_cast<size_t>(original_vocab), -1);
  for (size_t i = 0; i < c.tokens.size(); ++i) packed[static_cast<size_t>(c.tokens[i])] = static_cast<int32_t>(i);
  Windows w = original;
  for (size_t i = 0; i < w.ids.size(); ++i) {
    const int32_t id = w.ids[i];
    if (id < 0 || id >= original_vocab || packed[static_cast<size_t>(id)] < 0)
      fail(ErrorKind::bad_input,
           "position {} of the text is token {}, which the smaller vocabulary of {} does not have; cut the text with "
           "the "
           "smaller model's tokenizer",
           i, id, c.tokens.size());
    w.ids[i] = packed[static_cast<size_t>(id)];
  }
  return w;
}

Windows to_original_ids(const Correspondence& c, const Windows& packed) {
  if (c.tokens.empty()) return packed;
  Windows w = packed;
  for (int32_t& id : w.ids) {
    if (id < 0 || static_cast<size_t>(id) >= c.tokens.size())
      fail(ErrorKind::bad_input, "the text has token {}, outside of the {} of the smaller vocabulary", id,
           c.tokens.size());
    id = c.tokens[static_cast<size_t>(id)];
  }
  return w;
}

}  // namespace kerf
