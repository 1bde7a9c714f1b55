// The tests behind `is`.
#include <algorithm>
#include <cmath>

#include "model/chat/jinja_interpreter.h"
#include "model/chat/jinja_text.h"

namespace kerf::jinja {
namespace {

using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

int64_t remainder(Interpreter& i, const Value& v, const Value& by) {
  const Value rest = arithmetic(i.run(), "%", v, by);
  // 0.5 is neither odd nor even, and not divisible by anything: any other number says so.
  if (rest.is<double>()) return *rest.number() == std::floor(*rest.number()) ? static_cast<int64_t>(*rest.number()) : 2;
  return *rest.integer();
}

template <int wanted>
bool parity(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound none(i.run(), "odd or even", given, {});
  return remainder(i, v, Value(int64_t{2})) == wanted;
}

bool divisible(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "divisibleby", given, {"num"}, 1);
  return remainder(i, v, *bound[0]) == 0;
}

bool same(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "sameas", given, {"other"}, 1);
  const Value& other = *bound[0];
  if (v.is<bool>() || v.is<None>() || other.is<bool>() || other.is<None>())
    return v.data().index() == other.data().index() && equal(i.run(), v, other);
  i.run().unsupported("the test 'sameas' of other values than true, false and none");
}

template <bool wanted>
bool equals(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "equalto", given, {"other"}, 1);
  return equal(i.run(), v, *bound[0]) == wanted;
}

bool within(Interpreter& i, const Value& v, const Arguments& given) {
  const Bound bound(i.run(), "in", given, {"seq"}, 1);
  return contains(i.run(), *bound[0], v);
}

template <bool lower>
bool in_case(Interpreter& i, const Value& v, const Arguments& given) {
  return truth(call_text_method(i.run(), Value(to_text(i.run(), v)), lower ? "islower" : "isupper", given));
}

bool is_sequence(const Value& v) {
  return v.is_undefined() || v.is_text() || v.dict() ||
         (v.list() && v.list()->kind != List::Kind::view && v.list()->kind != List::Kind::generator);
}

// One of the three says what is asked.
struct Entry {
  std::string_view name;
  bool (*of_value)(const Value&) = nullptr;
  bool (*of_order)(int) = nullptr;  // how the value stands to the argument, as compare() says it
  Test test = nullptr;
};

constexpr Entry kTests[] = {
    {.name = "defined", .of_value = [](const Value& v) { return !v.is_undefined(); }},
    {.name = "undefined", .of_value = [](const Value& v) { return v.is_undefined(); }},
    {.name = "none", .of_value = [](const Value& v) { return v.is<None>(); }},
    {.name = "boolean", .of_value = [](const Value& v) { return v.is<bool>(); }},
    {.name = "true", .of_value = [](const Value& v) { return v.is<bool>() && truth(v); }},
    {.name = "false", .of_value = [](const Value& v) { return v.is<bool>() && !truth(v); }},
    {.name = "integer", .of_value = [](const Value& v) { return v.is<int64_t>(); }},
    {.name = "float", .of_value = [](const Value& v) { return v.is<double>(); }},
    {.name = "number", .of_value = [](const Value& v) { return v.number().has_value(); }},
    {.name = "string", .of_value = [](const Value& v) { return v.is_text(); }},
    {.name = "mapping", .of_value = [](const Value& v) { return v.dict() != nullptr; }},
    {.name = "sequence", .of_value = is_sequence},
    {.name = "iterable", .of_value = [](const Value& v) { return is_iterable(v) || v.loop(); }},
    {.name = "callable", .of_value = [](const Value& v) { return v.function() || v.loop() || v.is_undefined(); }},
    {.name = "escaped", .of_value = [](const Value& v) { return v.safe(); }},
    {.name = "lower", .test = in_case<true>},
    {.name = "upper", .test = in_case<false>},
    {.name = "odd", .test = parity<1>},
    {.name = "even", .test = parity<0>},
    {.name = "divisibleby", .test = divisible},
    {.name = "sameas", .test = same},
    {.name = "in", .test = within},
    {.name = "equalto", .test = equals<true>},
    {.name = "eq", .test = equals<true>},
    {.name = "ne", .test = equals<false>},
    {.name = "==", .test = equals<true>},  // as arguments of select and the like
    {.name = "!=", .test = equals<false>},
    {.name = "lt", .of_order = [](int order) { return order < 0; }},
    {.name = "lessthan", .of_order = [](int order) { return order < 0; }},
    {.name = "<", .of_order = [](int order) { return order < 0; }},
    {.name = "le", .of_order = [](int order) { return order <= 0; }},
    {.name = "<=", .of_order = [](int order) { return order <= 0; }},
    {.name = "gt", .of_order = [](int order) { return order > 0; }},
    {.name = "greaterthan", .of_order = [](int order) { return order > 0; }},
    {.name = ">", .of_order = [](int order) { return order > 0; }},
    {.name = "ge", .of_order = [](int order) { return order >= 0; }},
    {.name = ">=", .of_order = [](int order) { return order >= 0; }},
};

}  // namespace

bool call_test(Interpreter& i, const std::string& name, const Value& subject, const Arguments& given) {
  Run& run = i.run();
  const auto at = std::find_if(std::begin(kTests), std::end(kTests), [&](const Entry& e) { return e.name == name; });
  if (at == std::end(kTests)) {
    if (name == "filter" || name == "test") run.unsupported("the test '{}'", name);
    run.wrong("there is no test '{}'", name);
  }
  if (at->test) return at->test(i, subject, given);
  if (at->of_value) {
    const Bound none(run, "the test " + name, given, {});
    return at->of_value(subject);
  }
  const Bound bound(run, "the test " + name, given, {"other"}, 1);
  const int order = compare(run, subject, *bound[0], name);
  return order != 2 && at->of_order(order);
}

}  // namespace kerf::jinja
