// Options of a compression, each described once. The command line, recipes, the recipe in the report, what a stopped
// run must have in common with the one that goes on with it: all of them walk this table. A new option is one entry of
// it and a field (docs/adding.md). Its default is the field's initial value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "pipeline/plan/compress_options.h"

namespace kerf {

/// A number of bytes above 0, with a unit if one likes (2.5MB: core/units.h); 0 is none.
struct ByteSize {
  uint64_t* value;
};
/// Set only when it is given.
struct Flag {
  bool* value;
};

constexpr double kNoLimit = 1e300;

/// Where an option's value lies; the alternative is also what kind of value it is.
using OptionField = std::variant<std::string*, std::vector<std::string>*, std::filesystem::path*, int*, int64_t*,
                                 uint64_t*, double*, ByteSize, Flag, std::optional<bool>*>;

/// The structs that options are fields of. A command that has only some of them leaves the others out, and may then ask
/// for fields of those only.
struct OptionStructs {
  CompressOptions* run = nullptr;
  EvalOptions* eval = nullptr;
  CalibrationOptions* calib = nullptr;
  QuantizerOptions* quantizer = nullptr;
};
OptionStructs structs_of(CompressOptions&);

/// Whether a calibrated run that was stopped can be gone on with under another value.
enum class SameRun {
  any_value,   // it does not change the bytes of the weights, or not those of what is saved
  this_value,  // no: it is part of the run's description as it stands
  otherwise,   // no: what it leads to is part of the description (the target, the plan, the tokens)
};

struct Option {
  std::string_view flag;  // "--calib-windows"
  std::string_view key;   // of recipes: "calib.windows" is "windows" in the map "calib"; "": not for recipes
  std::string_view help, type_name;
  OptionField (*field)(const OptionStructs&) = nullptr;
  SameRun same_run = SameRun::any_value;
  /// Whole numbers lie in [least, most]; others in (least, most], and no NaN.
  double least = 0, most = kNoLimit;
  /// Of texts: fails with an Error for what it cannot mean. Recipes are checked when they are read; what the command
  /// line says, by check_texts().
  void (*check)(const std::string&) = nullptr;
  /// Whether the recipe in the report has it also when it is not set.
  bool always_written = false;
};

/// In the order in which recipes are written.
std::span<const Option> all_options();
/// Checks the texts that are set, before a run uses them. Errors as Option::check.
void check_texts(CompressOptions);

/// Whether there is something to say about an option: its value is not empty, 0, false or unset.
bool is_set(const OptionField&);
/// As recipes and the description of a run have it.
nlohmann::ordered_json to_json(const OptionField&);
/// *to = *from; of the same kind.
void copy(const OptionField& to, const OptionField& from);

}  // namespace kerf
