// Options that several commands share, and how results are printed.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "pipeline/plan/options.h"
#include "verify/artifact.h"

namespace kerf {

/// --text, --ctx, --windows, --skip-tokens.
void add_eval_options(CLI::App& command, EvalOptions&);
/// --calib, --calib-windows, --calib-ctx, --calib-seed.
void add_calibration_options(CLI::App& command, CalibrationOptions&);
/// --arithmetic runtime|float32 ("target" is another word for runtime).
/// A size such as 2GB, above 0.
CLI::Option* add_size_option(CLI::App&, const std::string& name, uint64_t& bytes, const std::string& help);
/// A real number; unlike CLI::Range it takes no NaN.
CLI::Validator between(double least, double most);

void add_arithmetic_option(CLI::App& command, VerifyMode&);
/// Results go to stdout. Error io when it cannot be written (a full disk behind a redirection).
void print(const std::string& text);
void print(const nlohmann::ordered_json&);

}  // namespace kerf
