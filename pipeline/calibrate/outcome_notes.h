// What a calibrated run tells while it is under way: the errors of each block, and what looks wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "pipeline/calibrate/finished_block.h"

namespace kerf {

/// A detail, in one line: `run` (the target), `where` (the block), and the errors of its sites.
void note_outcomes(const std::string& run, const std::string& where, std::span<const SiteOutcome>,
                   const PlannedMatrices&);

/// Warns of each outcome whose error is out of line with the same matrix in `earlier` blocks, of which there must be
/// some.
void warn_of_outliers(std::span<const SiteOutcome>, std::span<const SiteOutcome> earlier, const PlannedMatrices&);

/// Warns of inputs that have more channels than there are tokens, with the rank that is left and the damping.
void warn_of_few_tokens(const Architecture&, int64_t tokens, double damping);

/// Warns when the `relative` damping that was needed for the inputs of `site` is more than what was asked for.
void warn_of_damping(const Site& site, double asked, double relative);

}  // namespace kerf
