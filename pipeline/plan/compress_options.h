// What `kerf compress` is asked to do: a recipe, and what concerns this one run of it. pipeline/plan/option.h describes
// each field that an option sets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "pipeline/plan/recipe.h"

namespace kerf {

struct CompressOptions : Recipe {
  std::string model;
  std::filesystem::path out;
  bool resume = false;          // go on with what a killed run of the same kind has left
  int64_t save_every = 20;      // seconds between saved states of a calibrated run
  uint64_t memory = 0;          // bytes that a calibrated run may use; activations beyond go to a file; 0: any
  bool force = false;           // write into a folder that is not empty
  bool publish_anyway = false;  // let the files take their place even when a gate is missed
  uint64_t bytes = 0;           // of all files of weights at most, allocated to the matrices (allocate.h); 0: no limit
  double bpw = 0;               // the same as bits per parameter of the model
};

}  // namespace kerf
