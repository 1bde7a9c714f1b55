// The model card: README.md with the front matter that the hub reads and the measured figures.
#pragma once

#include <string>

#include "pipeline/plan/plan.h"
#include "pipeline/report/report.h"

namespace kerf {

/// `report` is that of the card's own folder (report_of()).
std::string model_card(const Report&, const TargetResult&, const TargetPlan&);

}  // namespace kerf
