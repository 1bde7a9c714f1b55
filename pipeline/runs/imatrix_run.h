// `kerf imatrix`: an importance matrix measured on a text, written to a file.
#pragma once

#include <filesystem>
#include <string>

#include "formats/imatrix.h"
#include "pipeline/plan/options.h"

namespace kerf {

struct ImatrixOptions {
  std::string model;
  CalibrationOptions calib;  // with a text
  std::filesystem::path out;
  ImatrixFormat format = ImatrixFormat::gguf;
};
/// Measures and writes; returns what was written. Errors as read_imatrix_chunks says.
Imatrix imatrix_run(const ImatrixOptions&);

}  // namespace kerf
