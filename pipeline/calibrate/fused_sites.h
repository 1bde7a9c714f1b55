// Matrices that have one scale in common, such as q, k and v in a scheme with a scale per tensor: chosen as one.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "pipeline/calibrate/site_group.h"

namespace kerf {

struct FusedSite {
  std::unique_ptr<Site> site;  // named as the first, with the rows of all
  GroupSite whole;             // their rows one after the other
};

/// Error usage when the sites do not have the same method and scheme.
FusedSite fuse(std::span<const GroupSite>);

/// Each site's rows of what was chosen for all. Errors and signal are those of all together.
std::vector<ChosenSite> split(const ChosenSite& whole, std::span<const GroupSite>);

}  // namespace kerf
