// Options that several commands share, and how results are printed.
#pragma once

#include <CLI/CLI.hpp>
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
/// A real number; unlike CLI::Range it takes no NaN.
CLI::Validator between(double least, double most);
/// --arithmetic runtime|vllm|float32 ("target" is another word for runtime).
void add_arithmetic_option(CLI::App& command, VerifyMode&);
/// Results go to stdout. Error io when it cannot be written (a full disk behind a redirection).
void print(const std::string& text);
void print(const nlohmann::ordered_json&);

}  // namespace kerf
