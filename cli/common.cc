#include "cli/common.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/units.h"

namespace kerf {

namespace {

template <class Number>
CLI::Validator whole_number(double least, double most) {
  const auto check = [least, most](const std::string& text) {
    Number x;
    if (CLI::detail::lexical_cast(text, x) && static_cast<double>(x) >= least && static_cast<double>(x) <= most)
      return std::string();
    return fmt::format(
        "it is a whole number {}, not {}",
        most == kNoLimit ? fmt::format("of at least {}", least) : fmt::format("from {} to {}", least, most), text);
  };
  return {check, ""};
}

CLI::Validator real_number(double above, double most) {
  const auto check = [above, most](const std::string& text) {
    double x;
    const bool inside = CLI::detail::lexical_cast(text, x) && x > above && x <= most;
    return inside ? std::string() : fmt::format("it is a number above {} and up to {}, not {}", above, most, text);
  };
  return {check, ""};
}

// Adds one option to the command, by the kind of its value.
struct Adder {
  CLI::App& command;
  const Option& option;
  std::string flag, help;

  CLI::Option* operator()(std::string* x) const { return command.add_option(flag, *x, help); }
  CLI::Option* operator()(std::vector<std::string>* x) const {
    return command.add_option(flag, *x, help)->delimiter(',');
  }
  CLI::Option* operator()(std::filesystem::path* x) const { return command.add_option(flag, *x, help); }
  template <class Number>
  CLI::Option* operator()(Number* x) const {
    return command.add_option(flag, *x, help)
        ->check(whole_number<Number>(option.least, option.most))
        ->capture_default_str();
  }
  CLI::Option* operator()(double* x) const {
    CLI::Option* o = command.add_option(flag, *x, help)->check(real_number(option.least, option.most));
    return *x == 0 ? o : o->capture_default_str();
  }
  CLI::Option* operator()(ByteSize x) const { return add_size_option(command, flag, *x.value, help); }
  CLI::Option* operator()(Flag x) const { return command.add_flag(flag, *x.value, help); }
  CLI::Option* operator()(std::optional<bool>* x) const {
    return command.add_option(flag, *x, help)
        ->transform(CLI::CheckedTransformer(std::map<std::string, bool>{{"on", true}, {"off", false}}));
  }
};

}  // namespace

void add_options(CLI::App& command, const OptionStructs& structs, std::string_view group) {
  for (const Option& o : all_options()) {
    if (!o.key.starts_with(group)) continue;
    const Adder adder{command, o, std::string(o.flag), std::string(o.help)};
    CLI::Option* added = std::visit(adder, o.field(structs));
    if (!o.type_name.empty()) added->type_name(std::string(o.type_name));
  }
}

CLI::Option* add_size_option(CLI::App& c, const std::string& name, uint64_t& bytes, const std::string& help) {
  const auto to_bytes = [](std::string& text) {
    try {
      text = fmt::format("{}", parse_bytes(text));
      return std::string();
    } catch (const Error& e) {
      return std::string(e.what());
    }
  };
  return c.add_option(name, bytes, help)->transform(CLI::Validator(to_bytes, ""))->type_name("SIZE");
}

CLI::Validator between(double least, double most) {
  const auto check = [least, most](const std::string& text) {
    double x;
    const bool inside = CLI::detail::lexical_cast(text, x) && x >= least && x <= most;
    return inside ? std::string() : fmt::format("it is a number from {} to {}, not {}", least, most, text);
  };
  return {check, fmt::format("in [{} - {}]", least, most)};
}

void add_arithmetic_option(CLI::App& command, VerifyMode& n) {
  const std::map<std::string, VerifyMode> names = {{"runtime", VerifyMode::runtime},
                                                   {"target", VerifyMode::runtime},
                                                   {"vllm", VerifyMode::vllm},
                                                   {"float32", VerifyMode::float32}};
  command
      .add_option("--arithmetic", n,
                  "runtime: what the target computes, activation rounding included; vllm: the same by vLLM's rule for "
                  "8-bit activations; float32: the decoded weights, everything in float32")
      ->transform(CLI::CheckedTransformer(names))
      ->type_name("runtime|vllm|float32");
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ErrorKind::io, "the result cannot be written to stdout: {}", std::strerror(errno));
}

void print(const nlohmann::ordered_json& j) { print(j.dump(2) + "\n"); }

}  // namespace kerf
