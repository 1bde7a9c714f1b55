#include "prune/method.h"

#include "core/error.h"

namespace kerf {
namespace {
constexpr std::string_view kRefit = "+refit";
}

std::string PruneMethod::name() const { return std::string(pruner->name()) + (refit ? std::string(kRefit) : ""); }

PruneMethod parse_prune_method(std::string_view text, bool calibrated) {
  if (text.empty()) text = calibrated ? "sparsegpt+refit" : "magnitude";
  const bool refit = text.ends_with(kRefit);
  const PruneMethod m{&find_pruner(refit ? text.substr(0, text.size() - kRefit.size()) : text), refit};
  if (!calibrated && (refit || m.pruner->needs_hessian()))
    fail(ErrorKind::usage, "--prune-method {} needs a calibration text; give --calib FILE", text);
  return m;
}

}  // namespace kerf
