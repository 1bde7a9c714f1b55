// The sites are glued by rows before they are chosen, and cut apart after.
#include "pipeline/calibrate/fused_sites.h"

#include "core/error.h"

namespace kerf {

FusedSite fuse(std::span<const GroupSite> sites) {
  FusedSite f{std::make_unique<Site>(*sites[0].site), sites[0]};
  f.whole.site = f.site.get();
  for (const GroupSite& s : sites.subspan(1)) {
    if (s.sparsity ? !sites[0].sparsity || *s.sparsity != *sites[0].sparsity : sites[0].sparsity != nullptr)
      fail(ErrorKind::usage,
           "{} and {} have one scale in this scheme, so they are pruned together; give both the same sparsity",
           sites[0].site->name, s.site->name);
    if (s.method->name != sites[0].method->name || *s.scheme != *sites[0].scheme)
      fail(ErrorKind::usage,
           "{} and {} have one scale in this scheme, so they cannot be treated by {} and {}; give both the same method",
           sites[0].site->name, s.site->name, sites[0].method->name, s.method->name);
    f.site->out += s.site->out;
    f.whole.w.insert(f.whole.w.end(), s.w.begin(), s.w.end());
  }
  return f;
}

std::vector<ChosenSite> split(const ChosenSite& whole, std::span<const GroupSite> sites) {
  std::vector<ChosenSite> parts;
  int64_t row = 0;
  for (const GroupSite& s : sites) {
    const int64_t end = row + s.site->out;
    ChosenSite part{.quantizer = whole.quantizer,
                    .matrix = rows_of(whole.matrix, row, end),
                    .error = whole.error,
                    .error_rtn = whole.error_rtn};
    part.values.assign(whole.values.begin() + row * s.site->in, whole.values.begin() + end * s.site->in);
    parts.push_back(std::move(part));
    row = end;
  }
  return parts;
}

}  // namespace kerf
