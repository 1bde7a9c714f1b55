// The functions that every template can call.
#include <algorithm>
#include <ctime>

#include "model/chat/jinja_interpreter.h"

namespace kerf::jinja {
namespace {

using Call = Value (*)(Interpreter&, const Arguments&);

// The limit of Jinja's sandbox.
constexpr int64_t kLongestRange = 100'000;

Value range(Interpreter& i, const Arguments& given) {
  Run& run = i.run();
  const Bound bound(run, "range", given, {"start", "stop", "step"}, 1);
  const int64_t step = bound.integer(2, 1);
  if (step == 0) run.wrong("range with the step 0");
  const int64_t from = bound[1] ? bound.integer(0, 0) : 0, to = bound[1] ? bound.integer(1, 0) : bound.integer(0, 0);
  // In 128 bits nothing overflows.
  const __int128 distance = step > 0 ? static_cast<__int128>(to) - from : static_cast<__int128>(from) - to;
  const __int128 stride = step > 0 ? static_cast<__int128>(step) : -static_cast<__int128>(step);
  const __int128 count = distance > 0 ? (distance + stride - 1) / stride : 0;
  if (count > kLongestRange) run.wrong("a range of more than {} numbers", kLongestRange);
  Items items;
  for (int64_t n = 0; n < static_cast<int64_t>(count); ++n) items.emplace_back(from + n * step);
  return make_list(run, std::move(items), List::Kind::range);
}

Dict make_dict(Run& run, const Arguments& given) {
  Dict d;
  if (given.positional.size() > 1) run.wrong("dict and namespace take one argument without a name");
  if (!given.positional.empty()) {
    if (const Dict* other = given.positional[0].dict()) {
      for (const auto& [key, value] : other->entries()) d.set(run, key, value);
    } else {
      for (const Value& pair : items_of(run, given.positional[0])) {
        const Items both = items_of(run, pair);
        if (both.size() != 2) run.wrong("dict and namespace need pairs of a key and a value");
        d.set(run, both[0], both[1]);
      }
    }
  }
  for (const auto& [name, value] : given.named) d.set(run, Value(name), value);
  return d;
}

Value dict(Interpreter& i, const Arguments& given) { return std::make_shared<Dict>(make_dict(i.run(), given)); }

Value make_namespace(Interpreter& i, const Arguments& given) {
  Dict d = make_dict(i.run(), given);
  for (const auto& [key, value] : d.entries())
    if (key.is_text() && key.text().starts_with('_')) i.run().wrong("a namespace with the attribute {}", key.text());
  return i.make_namespace(std::move(d));
}

Value raise_exception(Interpreter& i, const Arguments& given) {
  const Bound bound(i.run(), "raise_exception", given, {"message"}, 1);
  i.run().wrong("the template refuses these messages: {}", to_text(i.run(), *bound[0]));
}

Value strftime_now(Interpreter& i, const Arguments& given) {
  const Bound bound(i.run(), "strftime_now", given, {"format"}, 1);
  return make_text(i.run(), format_time(i.run(), bound.text(0), i.now()));
}

struct Entry {
  std::string_view name;
  Call call;
};
constexpr Entry kFunctions[] = {
    {"range", range},
    {"dict", dict},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

const Entry* find(std::string_view name) {
  const auto at = std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](auto& e) { return e.name == name; });
  return at == std::end(kFunctions) ? nullptr : at;
}

constexpr std::string_view kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr std::string_view kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                        "July",    "August",   "September", "October", "November", "December"};

std::string conversion(const Run& run, char c, bool bare, const std::tm& t) {
  const auto number = [bare](int n, int width) {
    return bare ? fmt::format("{}", n) : fmt::format("{:0{}}", n, width);
  };
  const auto day = kDays[static_cast<size_t>(t.tm_wday)], month = kMonths[static_cast<size_t>(t.tm_mon)];
  switch (c) {
    case 'd':
      return number(t.tm_mday, 2);
    case 'm':
      return number(t.tm_mon + 1, 2);
    case 'Y':
      return number(t.tm_year + 1900, 1);
    case 'y':
      return number(t.tm_year % 100, 2);
    case 'H':
      return number(t.tm_hour, 2);
    case 'I':
      return number((t.tm_hour + 11) % 12 + 1, 2);
    case 'M':
      return number(t.tm_min, 2);
    case 'S':
      return number(t.tm_sec, 2);
    case 'j':
      return number(t.tm_yday + 1, 3);
    case 'B':
      return std::string(month);
    case 'b':
      return std::string(month.substr(0, 3));
    case 'A':
      return std::string(day);
    case 'a':
      return std::string(day.substr(0, 3));
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case '%':
      return "%";
    default:
      run.unsupported("the conversion %{} of a time", c);
  }
}

}  // namespace

std::shared_ptr<Function> global_function(std::string_view name) {
  if (!find(name)) return nullptr;
  return std::make_shared<Function>(Function{.kind = Function::Kind::global, .name = std::string(name)});
}

Value call_global(Interpreter& i, const std::string& name, const Arguments& given) {
  return find(name)->call(i, given);
}

std::string format_time(const Run& run, const std::string& format, std::chrono::sys_seconds time) {
  const std::time_t seconds = time.time_since_epoch().count();
  std::tm t{};
  gmtime_r(&seconds, &t);
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const bool bare = i + 1 < format.size() && format[i + 1] == '-';
    i += bare ? 2 : 1;
    if (i >= format.size()) run.unsupported("a time format that ends with %");
    out += conversion(run, format[i], bare, t);
  }
  return out;
}

}  // namespace kerf::jinja
