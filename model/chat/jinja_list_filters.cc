// Filters of lists. Those that Python would compute item by item give a generator, here filled at once.
#include <algorithm>

#include "model/chat/jinja_filters.h"
#include "model/chat/jinja_text.h"

namespace kerf::jinja {
namespace {

constexpr auto kGenerator = List::Kind::generator;

Value length_of(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "length", given, {});
  const auto n = length(v);
  if (!n) i.run().wrong("a {} has no length", type_name(v));
  return *n;
}

Value to_list(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "list", given, {});
  return make_list(i.run(), items_of(i.run(), v));
}

Value first(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "first", given, {});
  if (List* l = v.list(); l && l->kind == kGenerator)
    return l->taken < l->items.size() ? l->items[l->taken++] : Value();
  const Items items = items_of(i.run(), v);
  return items.empty() ? Value() : items.front();
}

Value last(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "last", given, {});
  if (v.list() && v.list()->kind == kGenerator) i.run().wrong("a generator has no last item; make a list of it");
  const Items items = items_of(i.run(), v);
  return items.empty() ? Value() : items.back();
}

Value reversed(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "reverse", given, {});
  const bool generator = v.list() && v.list()->kind == kGenerator;
  Items items = items_of(i.run(), v);
  std::reverse(items.begin(), items.end());
  if (!v.is_text()) return make_list(i.run(), std::move(items), generator ? List::Kind::list : kGenerator);
  std::string text;
  for (const Value& c : items) text += c.text();
  return make_text(i.run(), std::move(text));
}

Value items(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound none(run, "items", given, {});
  if (v.is_undefined()) return make_list(run, {}, kGenerator);
  if (!v.dict()) run.wrong("'items' of a {}", type_name(v));
  Items pairs;
  for (const auto& [key, value] : v.dict()->entries()) pairs.push_back(make_list(run, {key, value}, List::Kind::tuple));
  return make_list(run, std::move(pairs), kGenerator);
}

// An attribute as filters name it: "a.b.0" looks up one after the other.
Value path_of(Run& run, const Value& v, const Value& path, const Value* otherwise = nullptr) {
  if (!path.is_text()) {
    const Value found = item(run, v, path);
    return found.is_undefined() && otherwise ? *otherwise : found;
  }
  Value at = v;
  for (const std::string_view part : split(path.text(), ".", -1, false)) {
    const bool number = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    at = item(run, at, number ? Value(int64_t{std::stoi(std::string(part))}) : Value(std::string(part)));
    if (at.is_undefined() && otherwise) at = *otherwise;
  }
  return at;
}

// Texts are compared without regard to case unless asked otherwise.
Value key_of(Run& run, const Value& v, const Value* attribute, bool case_sensitive) {
  Value key = attribute && !attribute->is<None>() ? path_of(run, v, *attribute) : v;
  return key.is_text() && !case_sensitive ? call_text_method(run, key, "lower", {}) : key;
}

std::vector<std::pair<Value, Value>> keyed(Run& run, const Value& v, const Value* attribute, bool case_sensitive) {
  std::vector<std::pair<Value, Value>> all;
  for (const Value& each : items_of(run, v)) all.emplace_back(key_of(run, each, attribute, case_sensitive), each);
  return all;
}

Value join(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "join", given, {"d", "attribute"});
  const std::string between = bound[0] ? to_text(run, *bound[0]) : "";
  std::string text;
  bool is_first = true;
  for (const Value& each : items_of(run, v)) {
    const Value shown = bound.is_given(1) ? path_of(run, each, *bound[1]) : each;
    if (!std::exchange(is_first, false)) text += between;
    const std::string part = to_text(run, shown);
    run.spend(part.size() + between.size());
    text += part;
  }
  return Value(std::move(text));
}

Value sorted(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "sort", given, {"reverse", "case_sensitive", "attribute"});
  if (bound.is_given(2) && bound[2]->is_text() && bound[2]->text().find(',') != std::string::npos)
    run.unsupported("'sort' by several attributes");
  auto all = keyed(run, v, bound[2], bound.truth_of(1, false));
  // Stable either way: equal items keep their order also when the greatest comes first.
  const bool reverse = bound.truth_of(0, false);
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return compare(run, reverse ? b.first : a.first, reverse ? a.first : b.first, "<") < 0;
  });
  Items sorted_items;
  for (auto& [key, value] : all) sorted_items.push_back(std::move(value));
  return make_list(run, std::move(sorted_items));
}

Value dict_sorted(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "dictsort", given, {"case_sensitive", "by", "reverse"});
  const std::string by = bound[1] ? bound.text(1) : "key";
  if (by != "key" && by != "value") run.wrong("'dictsort' by {}; it sorts by key or value", quoted(by));
  if (!v.dict()) run.wrong("'dictsort' of a {}", type_name(v));
  const Value pairs = items(i, v, {});
  const Value index(int64_t{by == "key" ? 0 : 1});
  Arguments sort{{}, {{"attribute", index}}};
  if (bound[0]) sort.named.emplace_back("case_sensitive", *bound[0]);
  if (bound[2]) sort.named.emplace_back("reverse", *bound[2]);
  return sorted(i, pairs, sort);
}

Value unique(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "unique", given, {"case_sensitive", "attribute"});
  Items seen, kept;
  for (const auto& [key, value] : keyed(run, v, bound[1], bound.truth_of(0, false))) {
    const auto same = [&run, k = &key](const Value& other) { return equal(run, *k, other); };
    if (std::any_of(seen.begin(), seen.end(), same)) continue;
    seen.push_back(key);
    kept.push_back(value);
  }
  return make_list(run, std::move(kept), kGenerator);
}

template <int wanted>
Value extreme(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, wanted < 0 ? "min" : "max", given, {"case_sensitive", "attribute"});
  const auto all = keyed(run, v, bound[1], bound.truth_of(0, false));
  if (all.empty()) return Value();
  const auto* best = &all.front();
  for (const auto& each : all)
    if (compare(run, each.first, best->first, wanted < 0 ? "<" : ">") * wanted > 0) best = &each;
  return best->second;
}

Value sum(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "sum", given, {"attribute", "start"});
  Value total = bound[1] ? *bound[1] : Value(int64_t{0});
  for (const Value& each : items_of(run, v))
    total = arithmetic(run, "+", total, bound.is_given(0) ? path_of(run, each, *bound[0]) : each);
  return total;
}

Value map(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  Items mapped;
  if (given.positional.empty()) {
    const Bound bound(run, "map", given, {"", "attribute", "default"});
    if (!bound[1]) run.wrong("'map' needs the name of a filter or an attribute");
    for (const Value& each : items_of(run, v))
      mapped.push_back(path_of(run, each, *bound[1], bound.is_given(2) ? bound[2] : nullptr));
    return make_list(run, std::move(mapped), kGenerator);
  }
  if (!given.positional[0].is_text()) run.wrong("'map' needs the name of a filter");
  const Arguments rest{{given.positional.begin() + 1, given.positional.end()}, given.named};
  for (const Value& each : items_of(run, v)) mapped.push_back(call_filter(i, given.positional[0].text(), each, rest));
  return make_list(run, std::move(mapped), kGenerator);
}

// select, reject: by a test of the item; selectattr, rejectattr: of an attribute of it. Without a test, by truth.
template <bool wanted, bool by_attribute>
Value selected(Interpreter& i, const Value& v, const Arguments& given) {
  Run& run = i.run();
  const size_t first_of_test = by_attribute ? 1 : 0;
  if (given.positional.size() < first_of_test) run.wrong("'selectattr' and 'rejectattr' need an attribute");
  Arguments rest;
  std::string test;
  if (given.positional.size() > first_of_test) {
    if (!given.positional[first_of_test].is_text()) run.wrong("'select' and 'reject' need the name of a test");
    test = given.positional[first_of_test].text();
    rest.positional.assign(given.positional.begin() + static_cast<ptrdiff_t>(first_of_test) + 1,
                           given.positional.end());
    rest.named = given.named;
  }
  Items kept;
  if (!truth(v)) return make_list(run, {}, kGenerator);
  for (const Value& each : items_of(run, v)) {
    const Value subject = by_attribute ? path_of(run, each, given.positional[0]) : each;
    if ((test.empty() ? truth(subject) : call_test(i, test, subject, rest)) == wanted) kept.push_back(each);
  }
  return make_list(run, std::move(kept), kGenerator);
}

constexpr FilterEntry kFilters[] = {
    {"length", length_of},
    {"count", length_of},
    {"list", to_list},
    {"first", first},
    {"last", last},
    {"reverse", reversed},
    {"items", items},
    {"join", join},
    {"sort", sorted},
    {"dictsort", dict_sorted},
    {"unique", unique},
    {"min", extreme<-1>},
    {"max", extreme<1>},
    {"sum", sum},
    {"map", map},
    {"select", selected<true, false>},
    {"reject", selected<false, false>},
    {"selectattr", selected<true, true>},
    {"rejectattr", selected<false, true>},
};

}  // namespace

std::span<const FilterEntry> list_filters() { return kFilters; }

}  // namespace kerf::jinja
