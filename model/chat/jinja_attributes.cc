// What stands behind a dot or in brackets. Jinja looks for an attribute of the Python object first behind a dot, and
// for a key first in brackets; either falls back to the other.
#include <algorithm>
#include <array>

#include "model/chat/jinja_builtins.h"
#include "model/chat/jinja_text.h"
#include "model/text/unicode.h"

namespace kerf::jinja {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::string_view kDictMethods[] = {"get", "items", "keys", "values", "copy"};
constexpr std::string_view kListMethods[] = {"index", "count", "copy"};
constexpr std::string_view kLoopMethods[] = {"cycle", "changed"};
// Methods that Python has on these types: as attributes they hide a key of that name.
constexpr std::string_view kChanging[] = {"append", "clear",   "extend", "insert",     "pop",   "popitem",
                                          "remove", "reverse", "sort",   "setdefault", "update"};
constexpr std::string_view kOtherDict[] = {"clear", "fromkeys", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kOtherList[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr std::string_view kNumber[] = {"real",       "imag",       "numerator", "denominator",      "bit_length",
                                        "conjugate",  "is_integer", "to_bytes",  "as_integer_ratio", "bit_count",
                                        "from_bytes", "hex",        "fromhex"};

bool is_in(Names names, std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); }

Names methods_of(const Value& v) {
  if (v.dict()) return kDictMethods;
  if (v.list()) return kListMethods;
  if (v.loop()) return kLoopMethods;
  return {};
}

Names lacking_in(const Value& v) {
  if (v.dict()) return kOtherDict;
  if (v.list() && v.list()->kind == List::Kind::list) return kOtherList;
  if (v.number()) return kNumber;
  return {};
}

Undefined nothing(Run& run, const Value& object, const std::string& name) {
  run.spend(name.size() + 64);
  return {std::make_shared<const std::string>(fmt::format("'{}' of a {}", name, type_name(object)))};
}

Value loop_attribute(Run& run, Loop& loop, const std::string& name) {
  const auto length = [&] {
    loop.peek_all();
    return loop.index0 + 1 + static_cast<int64_t>(loop.ahead.size());
  };
  if (name == "index0") return loop.index0;
  if (name == "index") return loop.index0 + 1;
  if (name == "first") return loop.index0 == 0;
  if (name == "last") return !loop.peek();
  if (name == "length") return length();
  if (name == "revindex") return length() - loop.index0;
  if (name == "revindex0") return length() - loop.index0 - 1;
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem") return loop.index0 > 0 ? loop.before : Value();
  if (name == "nextitem") return loop.peek() ? loop.ahead.front() : Value();
  run.spend(name.size());
  return Undefined{std::make_shared<const std::string>("'loop." + name + "'")};
}

// The attribute of the Python object, if it has one of that name.
std::optional<Value> python_attribute(Run& run, const Value& object, const std::string& name) {
  if (const Namespace* space = object.ns()) {
    const Value* v = space->attributes.find_text(name);
    return v ? std::optional(*v) : std::nullopt;
  }
  if (is_in(methods_of(object), name) || (object.is_text() && has_text_method(name)))
    return method_of(run, object, name);
  if (Loop* loop = object.loop()) return loop_attribute(run, *loop, name);
  if (is_in(lacking_in(object), name)) {
    if (is_in(kChanging, name))
      run.wrong("'{}' would change a {}, which chat templates may not", name, type_name(object));
    run.unsupported("'{}' of a {}", name, type_name(object));
  }
  if (name.starts_with("__") && !(object.dict() && object.dict()->find_text(name)))
    run.unsupported("the attribute '{}'", name);
  if (object.function()) run.unsupported("the attribute '{}' of a function", name);
  return std::nullopt;
}

void require_defined(const Run& run, const Value& object, std::string_view what) {
  if (const Undefined* u = std::get_if<Undefined>(&object.data()))
    run.wrong("{} of {}, which is undefined", what, u->what ? *u->what : "something");
}

// The place of an index that may count from the end; nullopt outside.
std::optional<size_t> place(int64_t index, int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<size_t>(index);
}

std::optional<Value> subscript(const Value& object, const Value& key) {
  if (const Dict* d = object.dict()) {
    const Value* v = d->find(key);
    return v ? std::optional(*v) : std::nullopt;
  }
  if (!key.integer()) return std::nullopt;
  if (const List* l = object.list(); l && l->kind != List::Kind::view && l->kind != List::Kind::generator) {
    const auto at = place(*key.integer(), static_cast<int64_t>(l->items.size()));
    return at ? std::optional(l->items[*at]) : std::nullopt;
  }
  if (object.is_text()) {
    const std::string& s = object.text();
    const auto at = place(*key.integer(), count_characters(s));
    if (!at) return std::nullopt;
    const size_t begin = byte_offset(s, static_cast<int64_t>(*at));
    return Value(s.substr(begin, decode_utf8(s.data() + begin).bytes));
  }
  return std::nullopt;
}

// The indices that Python's slice(from, to, step) takes of a sequence of that length.
std::vector<size_t> slice_indices(const Run& run, int64_t size, const Value& from, const Value& to, const Value& step) {
  const auto number = [&](const Value& v, std::string_view what) -> std::optional<int64_t> {
    if (v.is<None>()) return std::nullopt;
    if (!v.integer()) run.wrong("the {} of a slice is a {}, not an int", what, type_name(v));
    return v.integer();
  };
  const int64_t by = number(step, "step").value_or(1);
  if (by == 0) run.wrong("a slice with the step 0");
  const int64_t lowest = by < 0 ? -1 : 0, highest = by < 0 ? size - 1 : size;
  const auto bound = [&](std::optional<int64_t> i, int64_t otherwise) {
    if (!i) return otherwise;
    return std::clamp(*i < 0 ? std::max(*i, -size - 1) + size : *i, lowest, highest);
  };
  const int64_t begin = bound(number(from, "begin"), by < 0 ? highest : lowest);
  const int64_t end = bound(number(to, "end"), by < 0 ? lowest : highest);
  std::vector<size_t> indices;
  // A step past the length takes one item; the sum cannot overflow then.
  const int64_t stride = std::clamp(by, -size - 1, size + 1);
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) indices.push_back(static_cast<size_t>(i));
  return indices;
}

}  // namespace

bool Loop::pull() {
  while (taken < items.size()) {
    Value v = items[taken++];
    if (keep && !keep(v)) continue;
    ahead.push_back(std::move(v));
    return true;
  }
  return false;
}

bool Loop::peek() { return !ahead.empty() || pull(); }

void Loop::peek_all() {
  while (pull()) {
  }
}

bool Loop::advance() {
  if (!peek()) return false;
  ++index0;
  before = std::exchange(current, std::move(ahead.front()));
  ahead.pop_front();
  return true;
}

void Loop::finish() {
  items.clear();
  ahead.clear();
  keep = nullptr;
  before = current = Value();
  last_changed.reset();
}

bool has_method(const Value& self, std::string_view name) {
  return is_in(methods_of(self), name) || (self.is_text() && has_text_method(name));
}

Value method_of(Run& run, const Value& self, const std::string& name) {
  check_depth(run, self);
  run.spend(sizeof(Function));
  return std::make_shared<Function>(Function{.kind = Function::Kind::method, .name = name, .self = self});
}

Value attribute(Run& run, const Value& object, const std::string& name) {
  require_defined(run, object, "'" + name + "'");
  if (auto v = python_attribute(run, object, name)) return *v;
  if (const Dict* d = object.dict())
    if (const Value* v = d->find_text(name)) return *v;
  return nothing(run, object, name);
}

Value item(Run& run, const Value& object, const Value& key) {
  require_defined(run, object, "an item");
  if (object.is_text()) run.step(object.text().size() / 64);
  if (auto v = subscript(object, key)) return *v;
  if (!key.is_text()) return nothing(run, object, to_repr(run, key));
  if (auto v = python_attribute(run, object, key.text())) return *v;
  return nothing(run, object, key.text());
}

Value slice(Run& run, const Value& object, const Value& from, const Value& to, const Value& step) {
  require_defined(run, object, "a slice");
  if (const List* l = object.list(); l && l->kind != List::Kind::view && l->kind != List::Kind::generator) {
    Items items;
    run.step(l->items.size());
    for (const size_t i : slice_indices(run, static_cast<int64_t>(l->items.size()), from, to, step))
      items.push_back(l->items[i]);
    return make_list(run, std::move(items), l->kind);
  }
  if (!object.is_text()) run.wrong("a slice of a {}: only a list or a str has slices", type_name(object));
  const std::string& s = object.text();
  run.spend(s.size() * sizeof(size_t));
  std::vector<size_t> begins;
  for (size_t i = 0; i < s.size(); i += decode_utf8(s.data() + i).bytes) begins.push_back(i);
  std::string text;
  for (const size_t i : slice_indices(run, static_cast<int64_t>(begins.size()), from, to, step))
    text += s.substr(begins[i], decode_utf8(s.data() + begins[i]).bytes);
  return make_text(run, std::move(text));
}

}  // namespace kerf::jinja
