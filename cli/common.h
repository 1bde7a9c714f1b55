// Options that several commands share, and how results are printed.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "pipeline/options.h"
#include "verify/artifact.h"

namespace kerf {

/// --text, --ctx, --windows, --skip-tokens.
void add_eval_options(CLI::App& command, EvalOptions&);
/// --calib, --calib-windows, --calib-ctx, --calib-seed.
void add_calibration_options(CLI::App& command, CalibrationOptions&);
/// --arithmetic runtime|float32 ("target" is another word for runtime).
void add_arithmetic_option(CLI::App& command, Numerics&);
/// Results go to stdout. Error io when it cannot be written (a full disk behind a redirection).
void print(const std::string& text);
void print(const nlohmann::ordered_json&);

}  // namespace kerf
