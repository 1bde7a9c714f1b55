// The values that a chat template computes with, and what they mean: Python's, because templates are written for it.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"

namespace kerf::jinja {

class Value;
using Items = std::vector<Value>;

/// What a rendering may use before it is stopped: templates come from strangers, and a few of their lines can ask for
/// more than any machine has.
struct Limits {
  uint64_t steps = 5'000'000;          // nodes evaluated, and units of 64 bytes looked at: a second or so
  uint64_t bytes = uint64_t{1} << 28;  // of text and lists made, all together
  int depth = 600;                     // of evaluation: of calls in calls, blocks in blocks
};

/// One rendering: where it is, and what it has left of its limits.
class Run {
 public:
  explicit Run(std::string name, const Limits& limits = {}) : name_(std::move(name)), limits_(limits) {}

  int line = 0;  // of the template

  /// Error unsupported past the limit, as for the next two.
  void step(uint64_t count = 1);
  /// To be called before that many bytes are made.
  void spend(uint64_t bytes);
  void enter();
  void leave() { --depth_; }

  /// Error bad_input: what Python or Jinja would refuse too. The name and the line go in front.
  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    fail_at(ErrorKind::bad_input, fmt::format(format, std::forward<Args>(args)...));
  }
  /// Error unsupported: what Jinja has and kerf has not.
  template <class... Args>
  [[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    fail_at(ErrorKind::unsupported, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  [[noreturn]] void fail_at(ErrorKind, const std::string& sentence) const;

  std::string name_;
  Limits limits_;
  uint64_t steps_ = 0, bytes_ = 0;
  int depth_ = 0;
};

/// A name or key without a value: prints as nothing, is false, and most else with it is an error.
struct Undefined {
  std::shared_ptr<const std::string> what;  // "'x'"; may be null
};
struct None {};

struct Text {
  std::shared_ptr<const std::string> utf8;
  bool safe = false;  // made by the filters safe and escape: adding to it would escape HTML
};

struct List {
  enum class Kind : uint8_t {
    list,
    tuple,
    range,
    view,       // of a dict: has a length and no subscripts
    generator,  // neither, and gives each item once
  };
  Kind kind = Kind::list;
  Items items;
  size_t taken = 0;  // of a generator
  int depth = 1;
};

class Dict;
struct Namespace;
struct Loop;
struct Function;

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<List>, std::shared_ptr<Dict>,
                            std::shared_ptr<Namespace>, std::shared_ptr<Loop>, std::shared_ptr<Function>>;
  Value() = default;
  Value(None) : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(std::string text) : data_(Text{std::make_shared<const std::string>(std::move(text))}) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Text t) : data_(std::move(t)) {}
  Value(Undefined u) : data_(std::move(u)) {}
  template <class T>
  Value(std::shared_ptr<T> p) : data_(std::move(p)) {}

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_text() const { return is<Text>(); }
  /// Booleans count as the integers 0 and 1, as in Python.
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;
  const std::string& text() const { return *std::get<Text>(data_).utf8; }
  bool safe() const { return is_text() && std::get<Text>(data_).safe; }
  /// nullptr for any other type.
  List* list() const { return pointer<List>(); }
  Dict* dict() const { return pointer<Dict>(); }
  Namespace* ns() const { return pointer<Namespace>(); }
  Loop* loop() const { return pointer<Loop>(); }
  Function* function() const { return pointer<Function>(); }
  const Data& data() const { return data_; }
  /// Lists within lists; 0 for what holds nothing.
  int depth() const;

 private:
  template <class T>
  T* pointer() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data_);
    return p ? p->get() : nullptr;
  }
  Data data_;
};

/// Keys in the order of their insertion. A key is text, a number, a boolean or None.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  /// nullptr when there is none, also for a key of a type that cannot be one.
  const Value* find(const Value& key) const;
  const Value* find_text(std::string_view key) const;
  /// Adds or replaces. Error through `run` for a key of another type.
  void set(Run&, const Value& key, Value value);
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
  int depth_ = 1;
};

struct Namespace {
  Dict attributes;
};

/// Python's name of the type, for errors.
std::string_view type_name(const Value&);
bool truth(const Value&);

/// ==, which never fails.
bool equal(Run&, const Value&, const Value&);
/// The order of <, which Python has for numbers, for texts, and for lists and tuples of these: negative, zero or
/// positive; for a NaN 2. Error through `run` for anything else.
int compare(Run&, const Value&, const Value&, std::string_view op);
/// `item in container`.
bool contains(Run&, const Value& container, const Value& item);
/// len(value), or nullopt for what has none.
std::optional<int64_t> length(const Value&);
/// What a loop over the value gives; takes all of a generator. Error for what cannot be looped over.
Items items_of(Run&, const Value&);
bool is_iterable(const Value&);

Value make_text(Run&, std::string);
Value make_list(Run&, Items, List::Kind kind = List::Kind::list);
/// For dicts in the making: the depth of what goes in is limited as well.
void check_depth(const Run&, const Value&);

/// str(value), and repr(value).
std::string to_text(Run&, const Value&);
std::string to_repr(Run&, const Value&);
/// repr of a float: the shortest digits that read back as it.
std::string float_repr(double);

}  // namespace kerf::jinja
