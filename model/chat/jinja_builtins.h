// What templates find ready made: attributes and methods, operators, filters, tests and functions.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/jinja_syntax.h"
#include "model/chat/jinja_value.h"

namespace kerf::jinja {

class Interpreter;

struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  Value* find(std::string_view name);
  /// In this scope, not in its parents.
  void set(std::string_view name, Value value);
};

struct Function {
  enum class Kind {
    global,  // by its name
    method,  // of self
    macro,   // in the scope that it was defined in
  };
  Kind kind = Kind::global;
  std::string name = {};
  Value self = {};
  std::shared_ptr<const Macro> macro = {};
  std::shared_ptr<Scope> scope = {};
};
Value method_of(Run&, const Value& self, const std::string& name);

/// The variable `loop`.
struct Loop {
  Items items;
  size_t taken = 0;                             // of the items
  std::function<bool(const Value&)> keep = {};  // the condition of the loop, asked as late as Jinja asks it
  std::deque<Value> ahead = {};                 // kept items that come next
  int64_t index0 = -1;
  Value before = {}, current = {};
  std::optional<Items> last_changed = {};

  /// Moves on; false at the end.
  bool advance();
  /// Fills `ahead` with one item, or with all that are left.
  bool peek();
  void peek_all();
  void finish();

 private:
  bool pull();
};

struct Arguments {
  Items positional = {};
  std::vector<std::pair<std::string, Value>> named = {};
};

/// The arguments of a call, sorted by the parameters they are for. Error for too many, unknown or missing ones.
class Bound {
 public:
  Bound(const Run&, std::string_view what, const Arguments&, std::initializer_list<std::string_view> parameters,
        size_t required = 0);
  /// nullptr when it was not given.
  const Value* operator[](size_t i) const { return values_[i]; }
  /// The argument as the type, or `otherwise` when it was not given. Error for another type.
  int64_t integer(size_t i, int64_t otherwise) const;
  const std::string& text(size_t i) const;
  bool truth_of(size_t i, bool otherwise) const { return values_[i] ? truth(*values_[i]) : otherwise; }
  bool is_given(size_t i) const { return values_[i] && !values_[i]->is<None>(); }

 private:
  const Run& run_;
  std::string what_;
  std::vector<std::string_view> parameters_;
  std::vector<const Value*> values_;
};

/// object.name and object[key]: what is not there is Undefined. Error for an undefined object.
Value attribute(Run&, const Value& object, const std::string& name);
Value item(Run&, const Value& object, const Value& key);
/// object[from:to:step]; each may be None.
Value slice(Run&, const Value& object, const Value& from, const Value& to, const Value& step);
/// left op right, op one of + - * / // % **.
Value arithmetic(Run&, std::string_view op, const Value& left, const Value& right);
Value negated(Run&, const Value&);

/// self.name(...), a method of str, dict, list or loop.
Value call_method(Run&, const Value& self, const std::string& name, const Arguments&);
bool has_method(const Value& self, std::string_view name);
Value call_text_method(Run&, const Value& self, const std::string& name, const Arguments&);
bool has_text_method(std::string_view name);

/// subject | name(...). Error unsupported for a filter that Jinja has and kerf has not, bad_input for one that neither
/// has.
Value call_filter(Interpreter&, const std::string& name, const Value& subject, const Arguments&);
/// subject is name(...). The same errors.
bool call_test(Interpreter&, const std::string& name, const Value& subject, const Arguments&);

/// nullptr when there is no such function.
std::shared_ptr<Function> global_function(std::string_view name);
Value call_global(Interpreter&, const std::string& name, const Arguments&);

/// time in the C locale; error unsupported for conversions that depend on more.
std::string format_time(const Run&, const std::string& format, std::chrono::sys_seconds time);

}  // namespace kerf::jinja
