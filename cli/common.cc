#include "cli/common.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/nearest.h"
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

  CLI::Option* operator()(std::string* x) const { return command.add_option(flag, *x, help)->check(not_empty()); }
  CLI::Option* operator()(std::vector<std::string>* x) const {
    return command.add_option(flag, *x, help)->delimiter(',');
  }
  CLI::Option* operator()(std::filesystem::path* x) const {
    return command.add_option(flag, *x, help)->check(not_empty());
  }
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
    return command.add_option(flag, *x, help)->transform(one_of({{"on", "true"}, {"off", "false"}}));
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

CLI::Validator not_empty() {
  const auto check = [](const std::string& text) {
    return std::string(text.find_first_not_of(" \t\n") == text.npos
                           ? "it was given nothing (a variable that is not set?); give a value, or leave it out"
                           : "");
  };
  return {check, ""};
}

CLI::Validator between(double least, double most) {
  const auto check = [least, most](const std::string& text) {
    double x;
    const bool inside = CLI::detail::lexical_cast(text, x) && x >= least && x <= most;
    return inside ? std::string() : fmt::format("it is a number from {} to {}, not {}", least, most, text);
  };
  return {check, ""};
}

CLI::Validator one_of(std::vector<Word> words) {
  const auto transform = [words = std::move(words)](std::string& text) {
    std::vector<std::string> names;
    for (const Word& w : words) {
      names.push_back(w.text);
      if (w.text != text) continue;
      text = w.value;
      return std::string();
    }
    return fmt::format("it is one of {}, not {}", fmt::join(names, ", "), text);
  };
  return {transform, ""};
}

void add_examples(CLI::App& command, const std::vector<std::string>& lines) {
  command.footer(
      fmt::format("Examples:\n  {}\n\nWith every command: -j N threads, -q quiet, -v details (`kerf --help`).",
                  fmt::join(lines, "\n  ")));
}

namespace {

std::string probably(const std::string& word, const std::vector<std::string>& known) {
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::string_view meant = nearest(word, names);
  return meant.empty() ? "" : fmt::format("; did you mean {}?", meant);
}

}  // namespace

std::string no_such_command(const CLI::App& program, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* c : program.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(c->get_name());
  const std::string meant = probably(word, names);
  return (word.empty() ? "a command is missing" : fmt::format("there is no command '{}'", word)) +
         (meant.empty() ? fmt::format("; the commands are {}", fmt::join(names, ", ")) : meant);
}

std::string what_was_wrong(const CLI::App& program, const CLI::ParseError& e) {
  const auto parsed = program.get_subcommands();
  const CLI::App* command = parsed.empty() ? nullptr : parsed.front();
  const std::string name = command ? command->get_name() : "kerf";
  // What was not understood comes first: a mistyped option is also one that is missing.
  for (const std::string& word : program.remaining(true)) {
    const bool option = word.size() > 1 && word[0] == '-';
    if (!option && !command) return no_such_command(program, word);
    if (!option) continue;
    std::vector<std::string> flags;
    for (const CLI::App* app : {command, &program})
      if (app)
        for (const CLI::Option* o : app->get_options())
          for (const std::string& flag : o->get_lnames()) flags.push_back("--" + flag);
    const std::string flag = word.substr(0, word.find('='));
    return fmt::format("{} has no option {}{}", name, flag, probably(flag, flags));
  }
  if (const auto rest = program.remaining(true);
      !rest.empty() && e.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError))
    return fmt::format("{} was given '{}', and takes no further argument", name, rest.front());
  if (!command && e.get_name() == "RequiredError") return no_such_command(program, "");
  return fmt::format("{}: {}", name, e.what());
}

void add_arithmetic_option(CLI::App& command, VerifyMode& n) {
  const auto value = [](VerifyMode m) { return std::to_string(static_cast<int>(m)); };
  command
      .add_option("--arithmetic", n,
                  "runtime: what the target computes, activation rounding included; vllm: the same by vLLM's rule for "
                  "8-bit activations; float32: the decoded weights, everything in float32")
      ->transform(one_of({{"runtime", value(VerifyMode::runtime)},
                          {"vllm", value(VerifyMode::vllm)},
                          {"float32", value(VerifyMode::float32)},
                          {"target", value(VerifyMode::runtime)}}))
      ->type_name("runtime|vllm|float32");
}

void add_adapter_option(CLI::App& command, std::filesystem::path& path) {
  command
      .add_option("--adapter", path,
                  "Low-rank adapter of the model (LoRA), with which it is measured: a folder of PEFT's, or a GGUF file")
      ->type_name("PATH")
      ->check(not_empty());
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ErrorKind::io, "the result cannot be written to stdout: {}", std::strerror(errno));
}

void print(const nlohmann::ordered_json& j) { print(shown_json(j) + "\n"); }

}  // namespace kerf
