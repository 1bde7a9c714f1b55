// What --method says: which quantizers are tried, with and without activation-aware scaling.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quant/quantizer.h"

namespace kerf {

/// "rtn", "gptq", ... (a quantizer), "awq" (scaling, then rtn), "gptq+awq", or "auto".
struct Method {
  std::string name;
  std::vector<const Quantizer*> quantizers;  // tried for each site; the one with the smallest error is kept
  bool plain = true, scaled = false;  // tried for each group of sites that share an input: without and with scaling
  bool held_out = false;              // chosen by errors on windows that the statistics have not seen

  bool needs_calibration() const;
};

/// What parse_method() takes.
std::vector<std::string> method_names();
/// Error usage with the choices. The name "" stands for auto when there is a calibration text, else for rtn.
Method parse_method(std::string_view name, bool calibrated);

}  // namespace kerf
