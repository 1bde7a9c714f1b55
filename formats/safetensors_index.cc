// Only weight_map matters. "metadata" may hold anything; total_size in it is often wrong in real files and is ignored.
#include <unordered_set>

#include "core/error.h"
#include "formats/safetensors.h"
#include "formats/strict_json.h"
#include "formats/text.h"

namespace kerf {
namespace {

// Deeper than any index, shallow enough to say no at once.
constexpr int kDepthLimit = 32;

class IndexHandler final : public StrictJson {
 public:
  using StrictJson::StrictJson;
  bool found() const { return found_; }
  std::vector<std::pair<std::string, std::string>> take() { return std::move(map_); }

  bool null() override { return other("a null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool start_array(size_t) override {
    other("an array");
    return deeper();
  }
  bool end_array() override { return --depth_, true; }

  bool start_object(size_t) override {
    if (depth_ == 1 && key_ == "weight_map") {
      in_map_ = found_ = true;
    } else if (depth_ != 0) {
      other("an object");
    }
    return deeper();
  }
  bool end_object() override {
    if (--depth_ == 1) in_map_ = false;
    return true;
  }
  bool key(string_t& k) override {
    if (depth_ == 1) {
      if (k == "weight_map" && found_) fail(ErrorKind::bad_input, "{} has two weight_map objects", what());
      key_ = std::move(k);
    } else if (in_map_) {
      if (!names_.insert(k).second)
        fail(ErrorKind::bad_input, "{} names the tensor {} twice; names must be unique", what(), in_quotes(k));
      map_.emplace_back(std::move(k), std::string());
    }
    return true;
  }
  bool string(string_t& s) override {
    if (!in_map_) return other("a string");
    // A plain name: the files of a checkpoint lie beside its index.
    if (s.empty() || s == "." || s == ".." || s.find('/') != s.npos || s.find('\0') != s.npos)
      fail(ErrorKind::bad_input, "{} says that {} lies in {}; only plain file names in the same folder are allowed",
           what(), in_quotes(map_.back().first), in_quotes(s));
    map_.back().second = std::move(s);
    return true;
  }

 private:
  std::string where() const override {
    return in_map_ ? "in weight_map, where only file names are allowed" : "where an object with weight_map should be";
  }
  bool other(std::string_view found) const {
    if (in_map_ || depth_ == 0 || (depth_ == 1 && key_ == "weight_map")) refuse(found);
    return true;
  }
  bool deeper() {
    if (++depth_ > kDepthLimit) fail(ErrorKind::bad_input, "{} nests deeper than {} levels", what(), kDepthLimit);
    return true;
  }

  std::vector<std::pair<std::string, std::string>> map_;
  std::unordered_set<std::string> names_;
  std::string key_;
  int depth_ = 0;
  bool in_map_ = false, found_ = false;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_safetensors_index(std::string_view json, std::string_view what) {
  IndexHandler handler{std::string(what)};
  handler.parse(json);
  if (!handler.found())
    fail(ErrorKind::bad_input, "{} has no weight_map, which says in which file each tensor lies", what);
  return handler.take();
}

}  // namespace kerf
