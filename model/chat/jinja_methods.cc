// Methods of dict, list and loop, and how arguments find their parameters.
#include <algorithm>

#include "model/chat/jinja_builtins.h"

namespace kerf::jinja {
namespace {

Value dict_method(Run& run, const Dict& d, const std::string& name, const Arguments& given) {
  if (name == "get") {
    const Bound bound(run, "get", given, {"key", "default"}, 1);
    if (const Value* v = d.find(*bound[0])) return *v;
    return bound[1] ? *bound[1] : Value(None{});
  }
  const Bound bound(run, name, given, {});
  if (name == "copy") return std::make_shared<Dict>(d);
  Items items;
  run.spend(d.entries().size() * sizeof(Value));
  for (const auto& [key, value] : d.entries()) {
    if (name == "items")
      items.push_back(make_list(run, {key, value}, List::Kind::tuple));
    else
      items.push_back(name == "keys" ? key : value);
  }
  return make_list(run, std::move(items), List::Kind::view);
}

Value list_method(Run& run, const List& l, const std::string& name, const Arguments& given) {
  if (l.kind == List::Kind::view || l.kind == List::Kind::generator) run.wrong("'{}' of a view or generator", name);
  if (name == "copy") {
    const Bound bound(run, name, given, {});
    return make_list(run, l.items, l.kind);
  }
  const Bound bound(run, name, given, {"value"}, 1);
  int64_t count = 0;
  for (size_t i = 0; i < l.items.size(); ++i) {
    if (!equal(run, l.items[i], *bound[0])) continue;
    if (name == "index") return static_cast<int64_t>(i);
    ++count;
  }
  if (name == "index") run.wrong("{} is not in the list", to_repr(run, *bound[0]));
  return count;
}

Value loop_method(Run& run, Loop& loop, const std::string& name, const Arguments& given) {
  if (!given.named.empty()) run.wrong("loop.{} takes no arguments with names", name);
  if (name == "cycle") {
    if (given.positional.empty()) run.wrong("loop.cycle without values");
    return given.positional[static_cast<size_t>(loop.index0) % given.positional.size()];
  }
  const auto same = [&](const Items& old) {
    return std::equal(old.begin(), old.end(), given.positional.begin(), given.positional.end(),
                      [&](const Value& a, const Value& b) { return equal(run, a, b); });
  };
  const bool changed = !loop.last_changed || !same(*loop.last_changed);
  loop.last_changed = given.positional;
  return changed;
}

}  // namespace

Bound::Bound(const Run& run, std::string_view what, const Arguments& given,
             std::initializer_list<std::string_view> parameters, size_t required)
    : run_(run), what_(what), parameters_(parameters), values_(parameters.size(), nullptr) {
  if (given.positional.size() > values_.size())
    run.wrong("{} takes {} arguments and is given {}", what, values_.size(), given.positional.size());
  for (size_t i = 0; i < given.positional.size(); ++i) values_[i] = &given.positional[i];
  for (const auto& [name, value] : given.named) {
    const auto at = std::find(parameters_.begin(), parameters_.end(), name);
    if (at == parameters_.end()) run.wrong("{} has no argument {}", what, name);
    const auto i = static_cast<size_t>(at - parameters_.begin());
    if (values_[i]) run.wrong("{} is given its argument {} twice", what, name);
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values_[i]) run.wrong("{} lacks its argument {}", what, parameters_[i]);
}

int64_t Bound::integer(size_t i, int64_t otherwise) const {
  if (!values_[i]) return otherwise;
  if (!values_[i]->integer())
    run_.wrong("the argument {} of {} is a {}, not an int", parameters_[i], what_, type_name(*values_[i]));
  return *values_[i]->integer();
}

const std::string& Bound::text(size_t i) const {
  if (!values_[i] || !values_[i]->is_text())
    run_.wrong("the argument {} of {} is a {}, not a str", parameters_[i], what_,
               values_[i] ? type_name(*values_[i]) : "missing value");
  return values_[i]->text();
}

Value call_method(Run& run, const Value& self, const std::string& name, const Arguments& given) {
  if (self.is_text()) return call_text_method(run, self, name, given);
  if (const Dict* d = self.dict()) return dict_method(run, *d, name, given);
  if (const List* l = self.list()) return list_method(run, *l, name, given);
  if (Loop* loop = self.loop()) return loop_method(run, *loop, name, given);
  fail(ErrorKind::internal, "the method {} of a {}", name, type_name(self));
}

}  // namespace kerf::jinja
