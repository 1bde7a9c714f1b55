// Types, truth, equality and order, as Python defines them.
#include "model/chat/jinja_value.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "model/chat/jinja_builtins.h"
#include "model/chat/jinja_text.h"
#include "model/text/unicode.h"

namespace kerf::jinja {
namespace {

// Python's own limit on calls is 1000. Lists in lists are walked by functions that call themselves.
constexpr int kMostNested = 200;

// Equal keys have equal spellings: 1, 1.0 and True are one key.
std::optional<std::string> spelling(const Value& key) {
  if (key.is_text()) return "s" + key.text();
  if (const auto i = key.integer()) return "i" + std::to_string(*i);
  if (key.is<None>()) return "n";
  if (const auto d = key.number()) {
    const double limit = 9007199254740992.0;  // 2^53: doubles below are exact integers
    if (*d == std::floor(*d) && std::abs(*d) < limit) return "i" + std::to_string(static_cast<int64_t>(*d));
    return "f" + std::to_string(std::bit_cast<uint64_t>(*d));
  }
  return std::nullopt;
}

bool equal_items(Run& run, const Items& a, const Items& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(run, a[i], b[i])) return false;
  return true;
}

bool equal_dicts(Run& run, const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (!other || !equal(run, value, *other)) return false;
  }
  return true;
}

int sign(auto a, auto b) { return a < b ? -1 : a > b ? 1 : 0; }

}  // namespace

void Run::step(uint64_t count) {
  steps_ += count;
  if (steps_ > limits_.steps)
    unsupported("it takes more than {} steps, where kerf stops; does it loop over too much?", limits_.steps);
}

void Run::spend(uint64_t bytes) {
  bytes_ += bytes;
  if (bytes > limits_.bytes || bytes_ > limits_.bytes)
    unsupported("it makes more than {} MiB of text and lists, where kerf stops; does it double something in a loop?",
                limits_.bytes >> 20);
}

void Run::enter() {
  if (++depth_ > limits_.depth) unsupported("its calls and blocks are nested deeper than {}", limits_.depth);
}

void Run::fail_at(ErrorKind kind, const std::string& sentence) const {
  throw Error(
      kind, line > 0 ? fmt::format("{}, line {}: {}", name_, line, sentence) : fmt::format("{}: {}", name_, sentence));
}

std::optional<int64_t> Value::integer() const {
  if (const auto* i = std::get_if<int64_t>(&data_)) return *i;
  if (const auto* b = std::get_if<bool>(&data_)) return *b ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const auto* d = std::get_if<double>(&data_)) return *d;
  if (const auto i = integer()) return static_cast<double>(*i);
  return std::nullopt;
}

int Value::depth() const {
  if (const List* l = list()) return l->depth;
  if (const Dict* d = dict()) return d->depth();
  if (const Function* f = function()) return 1 + f->self.depth();
  return 0;
}

const Value* Dict::find(const Value& key) const {
  const auto spelled = spelling(key);
  if (!spelled) return nullptr;
  const auto at = index_.find(*spelled);
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

const Value* Dict::find_text(std::string_view key) const {
  const auto at = index_.find("s" + std::string(key));
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

void Dict::set(Run& run, const Value& key, Value value) {
  auto spelled = spelling(key);
  if (!spelled) run.unsupported("a {} as the key of a dict", type_name(key));
  check_depth(run, value);
  run.spend(sizeof(Entry) + spelled->size());
  depth_ = std::max(depth_, 1 + value.depth());
  const auto [at, is_new] = index_.emplace(std::move(*spelled), entries_.size());
  if (is_new)
    entries_.emplace_back(key, std::move(value));
  else
    entries_[at->second].second = std::move(value);
}

std::string_view type_name(const Value& v) {
  static constexpr std::string_view kLists[] = {"list", "tuple", "range", "view of a dict", "generator"};
  static constexpr std::string_view kNames[] = {"undefined value", "None", "bool",    "int", "float", "str", "", "dict",
                                                "namespace",       "loop", "function"};
  if (const List* l = v.list()) return kLists[static_cast<size_t>(l->kind)];
  return kNames[v.data().index()];
}

bool truth(const Value& v) {
  if (v.is_undefined() || v.is<None>()) return false;
  if (v.is_text()) return !v.text().empty();
  if (const auto d = v.number()) return *d != 0;
  if (const auto n = length(v)) return *n != 0;
  return true;
}

bool equal(Run& run, const Value& a, const Value& b) {
  run.step();
  if (a.is_text() && b.is_text()) {
    if (a.text().size() != b.text().size()) return false;
    run.step(a.text().size() / 64);
    return a.text() == b.text();
  }
  if (a.integer() && b.integer()) return *a.integer() == *b.integer();
  if (a.number() && b.number()) return *a.number() == *b.number();
  if (a.data().index() != b.data().index()) return false;
  if (a.is_undefined() || a.is<None>()) return true;
  if (const List* x = a.list()) {
    const List* y = b.list();
    if (x == y) return true;
    if (x->kind != y->kind || x->kind == List::Kind::view || x->kind == List::Kind::generator) return false;
    return equal_items(run, x->items, y->items);
  }
  if (const Dict* x = a.dict()) return x == b.dict() || equal_dicts(run, *x, *b.dict());
  if (a.ns()) return a.ns() == b.ns();
  if (a.loop()) return a.loop() == b.loop();
  return a.function() && a.function() == b.function();
}

int compare(Run& run, const Value& a, const Value& b, std::string_view op) {
  run.step();
  if (a.integer() && b.integer()) return sign(*a.integer(), *b.integer());
  if (a.number() && b.number()) {
    if (std::isnan(*a.number()) || std::isnan(*b.number())) return 2;
    return sign(*a.number(), *b.number());
  }
  if (a.is_text() && b.is_text()) {  // the order of UTF-8 bytes is that of code points
    run.step(std::min(a.text().size(), b.text().size()) / 64);
    return a.text().compare(b.text());
  }
  const List *x = a.list(), *y = b.list();
  if (x && y && x->kind == y->kind && (x->kind == List::Kind::list || x->kind == List::Kind::tuple)) {
    for (size_t i = 0; i < x->items.size() && i < y->items.size(); ++i)
      if (!equal(run, x->items[i], y->items[i])) return compare(run, x->items[i], y->items[i], op);
    return sign(x->items.size(), y->items.size());
  }
  run.wrong("{} is not defined between {} and {}", op, type_name(a), type_name(b));
}

bool contains(Run& run, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) run.wrong("a str can contain a str only, not {}", type_name(item));
    run.step(container.text().size() / 64);
    return container.text().find(item.text()) != std::string::npos;
  }
  if (const Dict* d = container.dict()) return d->find(item) != nullptr;
  if (List* l = container.list()) {
    size_t i = l->kind == List::Kind::generator ? l->taken : 0;
    bool found = false;
    for (; i < l->items.size() && !found; ++i) found = equal(run, l->items[i], item);
    if (l->kind == List::Kind::generator) l->taken = i;
    return found;
  }
  if (container.is_undefined()) return false;
  run.wrong("'in' cannot look into {}", type_name(container));
}

std::optional<int64_t> length(const Value& v) {
  if (v.is_undefined()) return 0;
  if (v.is_text()) return count_characters(v.text());
  if (const List* l = v.list(); l && l->kind != List::Kind::generator) return static_cast<int64_t>(l->items.size());
  if (const Dict* d = v.dict()) return static_cast<int64_t>(d->entries().size());
  return std::nullopt;
}

bool is_iterable(const Value& v) { return v.is_undefined() || v.is_text() || v.list() || v.dict(); }

Items items_of(Run& run, const Value& v) {
  if (v.is_undefined()) return {};
  if (List* l = v.list()) {
    run.spend(l->items.size() * sizeof(Value));
    if (l->kind != List::Kind::generator) return l->items;
    Items rest(l->items.begin() + static_cast<ptrdiff_t>(l->taken), l->items.end());
    l->taken = l->items.size();
    return rest;
  }
  Items items;
  if (const Dict* d = v.dict()) {
    run.spend(d->entries().size() * sizeof(Value));
    for (const auto& [key, value] : d->entries()) items.push_back(key);
    return items;
  }
  if (v.is_text()) {
    const std::string& s = v.text();
    run.spend(s.size() * (sizeof(Value) + sizeof(std::string)));
    for (size_t i = 0; i < s.size();) {
      const size_t n = decode_utf8(s.data() + i).bytes;
      items.emplace_back(s.substr(i, n));
      i += n;
    }
    return items;
  }
  run.wrong("a loop over {}: only a list, dict or str can be looped over", type_name(v));
}

Value make_text(Run& run, std::string s) {
  run.spend(s.size());
  return s;
}

void check_depth(const Run& run, const Value& v) {
  if (v.depth() >= kMostNested) run.unsupported("lists are nested deeper than {}", kMostNested);
}

Value make_list(Run& run, Items items, List::Kind kind) {
  run.spend(items.size() * sizeof(Value));
  int depth = 0;
  for (const Value& v : items) {
    check_depth(run, v);
    depth = std::max(depth, v.depth());
  }
  return std::make_shared<List>(List{kind, std::move(items), 0, depth + 1});
}

}  // namespace kerf::jinja
