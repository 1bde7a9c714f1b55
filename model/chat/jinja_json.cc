#include "model/chat/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "model/text/unicode.h"

namespace kerf::jinja {
namespace {

constexpr int kMostNested = 100;

// Builds the value event by event: nothing else is kept of the text.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  // The limits of a rendering do not bind what is read: it is no larger than its text by more than a small factor.
  explicit Builder(const std::string& what) : what_(what), run_(what, {.steps = UINT64_MAX, .bytes = UINT64_MAX}) {}

  bool null() override { return add(None{}); }
  bool boolean(bool b) override { return add(b); }
  bool number_integer(number_integer_t i) override { return add(static_cast<int64_t>(i)); }
  bool number_unsigned(number_unsigned_t u) override {
    if (u > static_cast<uint64_t>(INT64_MAX))
      fail(ErrorKind::unsupported, "{}: the integer {} is past 64 bits", what_, u);
    return add(static_cast<int64_t>(u));
  }
  bool number_float(number_float_t d, const string_t& text) override {
    if (text.find_first_of(".eE") == std::string::npos)
      fail(ErrorKind::unsupported, "{}: the integer {} is past 64 bits", what_, text.substr(0, 40));
    return add(d);
  }
  bool string(string_t& s) override { return add(std::move(s)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(false); }
  bool start_array(size_t) override { return open(true); }
  bool key(string_t& k) override {
    levels_.back().key = std::move(k);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: what is wrong"
    const std::string_view all = e.what();
    const size_t colon = all.find(": ");
    fail(ErrorKind::bad_input, "{} is not valid JSON, at byte {}: {}", what_, position,
         colon == std::string_view::npos ? all : all.substr(colon + 2));
  }

  Value take() { return std::move(result_); }

 private:
  struct Level {
    bool array;
    Items items = {};
    std::shared_ptr<Dict> dict = {};
    std::string key = {};
  };

  bool open(bool array) {
    levels_.push_back({array});
    if (!array) levels_.back().dict = std::make_shared<Dict>();
    return true;
  }
  bool close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    return add(level.array ? make_list(run_, std::move(level.items)) : Value(std::move(level.dict)));
  }
  bool add(Value v) {
    if (levels_.empty())
      result_ = std::move(v);
    else if (levels_.back().array)
      levels_.back().items.push_back(std::move(v));
    else
      levels_.back().dict->set(run_, Value(levels_.back().key), std::move(v));
    return true;
  }

  const std::string& what_;
  Run run_;
  std::vector<Level> levels_;
  Value result_;
};

class Dumper {
 public:
  Dumper(Run& run, const JsonStyle& style) : run_(run), style_(style) {}

  void value(const Value& v) {
    run_.step();
    const size_t before = out.size();
    if (v.is<None>())
      out += "null";
    else if (v.is<bool>())
      out += *v.integer() != 0 ? "true" : "false";
    else if (v.is_text())
      text(v.text());
    else if (v.integer())
      out += std::to_string(*v.integer());
    else if (v.number())
      number(*v.number());
    else if (const Dict* d = v.dict())
      dict(*d);
    else if (const List* l = v.list(); l && (l->kind == List::Kind::list || l->kind == List::Kind::tuple))
      list(*l);
    else
      run_.wrong("a {} cannot be written as JSON", type_name(v));
    if (!v.dict() && !v.list()) run_.spend(out.size() - before);
  }

  std::string out;

 private:
  void number(double d) {
    if (std::isnan(d))
      out += "NaN";
    else if (std::isinf(d))
      out += d < 0 ? "-Infinity" : "Infinity";
    else
      out += float_repr(d);
  }

  void new_line() {
    if (!style_.indent) return;
    out += '\n';
    run_.spend(style_.indent->size() * static_cast<size_t>(level_) + 1);
    for (int i = 0; i < level_; ++i) out += *style_.indent;
  }

  template <class Items, class Each>
  void items(const Items& all, char open, char close, Each each) {
    out += open;
    ++level_;
    bool first = true;
    for (const auto& i : all) {
      if (!std::exchange(first, false)) out += style_.item;
      new_line();
      each(i);
    }
    --level_;
    if (!first) new_line();
    out += close;
  }

  void list(const List& l) {
    items(l.items, '[', ']', [this](const Value& v) { value(v); });
  }

  void dict(const Dict& d) {
    std::vector<const Dict::Entry*> entries;
    run_.spend(d.entries().size() * sizeof(void*));
    for (const auto& e : d.entries()) entries.push_back(&e);
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [this](auto* a, auto* b) { return compare(run_, a->first, b->first, "<") < 0; });
    items(entries, '{', '}', [this](const Dict::Entry* e) {
      key(e->first);
      out += style_.key;
      value(e->second);
    });
  }

  void key(const Value& k) {
    if (k.is_text()) return value(k);
    out += '"';
    value(k);
    out += '"';
  }

  void text(const std::string& s) {
    out += '"';
    for (size_t i = 0; i < s.size();) {
      const Utf8Char c = decode_utf8(s.data() + i);
      static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b", kLetter = "\"\\nrtfb";
      const size_t k = c.code < 0x80 ? kSpecial.find(static_cast<char>(c.code)) : std::string_view::npos;
      if (k != std::string_view::npos)
        out += {'\\', kLetter[k]};
      else if (c.code < 0x20 || (style_.ascii && c.code >= 0x7F))
        escape(c.code);
      else
        out.append(s, i, c.bytes);
      i += c.bytes;
    }
    out += '"';
  }

  void escape(uint32_t code) {
    if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      code -= 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
    }
  }

  Run& run_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

Value parse_json(std::string_view text, const std::string& what) {
  check_json_text(text, what, kMostNested);
  Builder builder(what);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    fail(ErrorKind::bad_input, "{} is not valid JSON", what);
  return builder.take();
}

std::string dump_json(Run& run, const Value& v, const JsonStyle& style) {
  Dumper dumper(run, style);
  dumper.value(v);
  return std::move(dumper.out);
}

}  // namespace kerf::jinja
