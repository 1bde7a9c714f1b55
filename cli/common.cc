#include "cli/common.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace kerf {

void add_eval_options(CLI::App& command, EvalOptions& e) {
  command.add_option("--text", e.text, "Text to evaluate on (UTF-8)")->type_name("FILE");
  command.add_option("--ctx", e.ctx, "Tokens in a window")->capture_default_str()->type_name("N");
  command.add_option("--windows", e.windows, "Windows at most")->capture_default_str()->type_name("N");
  command.add_option("--skip-tokens", e.skip_tokens, "Tokens of the text left out at its beginning")
      ->capture_default_str()
      ->type_name("N");
}

void add_calibration_options(CLI::App& c, CalibrationOptions& o) {
  c.add_option("--calib", o.text, "Text to calibrate on: UTF-8, or JSONL with \"text\" or \"messages\"")
      ->type_name("FILE");
  c.add_option("--calib-windows", o.windows, "Windows of the text to calibrate on")->capture_default_str();
  c.add_option("--calib-ctx", o.ctx, "Tokens of a calibration window")->capture_default_str();
  c.add_option("--calib-seed", o.seed, "Shuffles the documents of a JSONL text; 0 keeps the order of the file")
      ->capture_default_str();
}

CLI::Option* add_size_option(CLI::App& c, const std::string& name, uint64_t& bytes, const std::string& help) {
  const auto positive = [](const std::string& text) {
    const bool something = text.find_first_of("123456789") != std::string::npos && text.find('-') == std::string::npos;
    return something ? std::string() : "it is a size above 0, such as 60MB, not " + text;
  };
  // The last transformation comes first.
  return c.add_option(name, bytes, help)
      ->transform(CLI::AsSizeValue(true))
      ->transform(CLI::Validator(positive, ""))
      ->type_name("SIZE");
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
