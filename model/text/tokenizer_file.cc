// A vocabulary of 128,000 tokens with 280,000 merges as a JSON document takes a million small allocations and as many
// visits to the memory behind them; here the parser's events fill the two lists directly.
#include "model/text/tokenizer_file.h"

#include <cstdint>

#include "core/error.h"
#include "core/json.h"

namespace kerf {
namespace {

using json = nlohmann::json;

/// Receives the events of nlohmann::json::sax_parse (all of whose functions return whether to go on).
class Builder {
 public:
  Builder(TokenizerFile& file, const std::string& name) : file_(file), name_(name) {}

  bool null() { return scalar(nullptr); }
  bool boolean(bool v) { return scalar(v); }
  bool number_integer(int64_t v) { return part_ == Part::vocab ? token(v) : scalar(v); }
  bool number_unsigned(uint64_t v) {
    if (part_ != Part::vocab) return scalar(v);
    if (v > static_cast<uint64_t>(INT64_MAX)) {
      fail(ErrorKind::bad_input, "{}.model.vocab: the id {} of \"{}\" is out of range", name_, v, key_);
    }
    return token(static_cast<int64_t>(v));
  }
  bool number_float(double v, const std::string&) { return scalar(v); }
  bool string(std::string& v) { return part_ == Part::merges ? merge(v) : scalar(std::move(v)); }
  bool binary(json::binary_t&) { return true; }  // JSON text has none

  bool key(std::string& v) {
    key_ = std::move(v);
    return true;
  }
  bool start_object(size_t) {
    if (part_ != Part::rest) wrong("an object");
    if (at("vocab")) {
      part_ = Part::vocab;
      file_.vocab.clear();
    }
    return open(json::object());
  }
  bool end_object() {
    part_ = Part::rest;
    return close();
  }
  bool start_array(size_t) {
    if (part_ == Part::merges && halves_ < 0) {
      halves_ = 0;
      file_.merge_pairs = true;
      return true;
    }
    if (part_ != Part::rest) wrong("a list");
    if (at("merges")) {
      part_ = Part::merges;
      file_.merges.clear();
    }
    return open(json::array());
  }
  bool end_array() {
    if (part_ == Part::merges && halves_ >= 0) {
      if (halves_ != 2) wrong("a list");
      halves_ = -1;
      return true;
    }
    part_ = Part::rest;
    return close();
  }
  bool parse_error(size_t, const std::string&, const json::exception& e) {
    fail(ErrorKind::bad_input, "{}: not valid JSON: {}", name_, e.what());
  }

 private:
  enum class Part { rest, vocab, merges };

  [[noreturn]] void wrong(std::string_view found) const {
    if (part_ == Part::vocab) {
      fail(ErrorKind::bad_input, "{}.model.vocab: the id of \"{}\" is {}, expected an integer", name_, key_, found);
    }
    fail(ErrorKind::bad_input, "{}.model.merges[{}]: expected two tokens, as \"a b\" or [\"a\", \"b\"]", name_,
         file_.merges.size() - (halves_ > 0));
  }
  /// Whether the value that begins is model.<key>.
  bool at(std::string_view key) const { return stack_.size() == 2 && in_model_ && key_ == key; }

  bool token(int64_t id) {
    file_.vocab.emplace_back(std::move(key_), id);
    return true;
  }
  bool merge(std::string& v) {
    if (halves_ < 0) {
      if (!v.starts_with("#version")) file_.merges.push_back(std::move(v));
      return true;
    }
    if (v.find(' ') != std::string::npos) {
      fail(ErrorKind::unsupported, "{}.model.merges[{}]: merges of tokens that contain a space are not supported",
           name_, file_.merges.size() - (halves_ > 0));
    }
    if (halves_ == 0) {
      file_.merges.push_back(std::move(v));
    } else if (halves_ == 1) {
      file_.merges.back().append(" ").append(v);
    } else {
      wrong("a list");
    }
    ++halves_;
    return true;
  }

  template <class Value>
  bool scalar(Value&& v) {
    json value(std::forward<Value>(v));
    if (part_ != Part::rest) wrong(value.type_name());
    put(std::move(value));
    return true;
  }
  json* put(json value) {
    if (stack_.empty()) return &(file_.rest = std::move(value));
    json& parent = *stack_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    return &(parent[std::move(key_)] = std::move(value));
  }
  bool open(json value) {
    if (stack_.size() == 1 && stack_.back()->is_object()) in_model_ = key_ == "model" && value.is_object();
    stack_.push_back(put(std::move(value)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  TokenizerFile& file_;
  const std::string& name_;
  std::vector<json*> stack_;  // the open objects and lists; an element moves only when its parent, closed later, grows
  std::string key_;
  bool in_model_ = false;  // the open value at depth two is "model"
  Part part_ = Part::rest;
  int halves_ = -1;  // merges: strings seen of the open pair, or -1
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name) {
  check_is_no_other_file(text, name);
  check_json_text(text, name);
  TokenizerFile file;
  Builder builder(file, name);
  json::sax_parse(text, &builder);
  return file;
}

}  // namespace kerf
