// Options that several commands share, and how results are printed.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "pipeline/plan/option.h"
#include "verify/artifact.h"

namespace kerf {

/// The options of the table (pipeline/plan/option.h) whose keys in recipes begin with `group`, such as "eval."; all of
/// them with "". The structs must outlive the program's parsing.
void add_options(CLI::App& command, const OptionStructs&, std::string_view group);
/// A size such as 2.5GB (core/units.h).
CLI::Option* add_size_option(CLI::App&, const std::string& name, uint64_t& bytes, const std::string& help);
/// No empty text, such as a variable of a shell that is not set leaves: a gate that is not there is not passed.
CLI::Validator not_empty();
/// A real number; unlike CLI::Range it takes no NaN.
CLI::Validator between(double least, double most);
/// One of some words; `value` is what the parser reads for it.
struct Word {
  std::string text, value;
};
CLI::Validator one_of(std::vector<Word>);
/// The end of a command's help: how it is used, and the options that every command has.
void add_examples(CLI::App&, const std::vector<std::string>& lines);
/// The sentence for a word that is no command, or for none at all (""), with the one that was probably meant.
std::string no_such_command(const CLI::App& program, const std::string& word);
/// The sentence for what the parser did not understand: which command, which word, and what was probably meant.
std::string what_was_wrong(const CLI::App& program, const CLI::ParseError&);
/// --arithmetic runtime|vllm|float32 ("target" is another word for runtime).
void add_arithmetic_option(CLI::App& command, VerifyMode&);
/// --adapter PATH (verify/adapter.h)
void add_adapter_option(CLI::App& command, std::filesystem::path&);
/// Results go to stdout. Error io when it cannot be written (a full disk behind a redirection).
void print(const std::string& text);
void print(const nlohmann::ordered_json&);

}  // namespace kerf
