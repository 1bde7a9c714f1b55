#include "pipeline/plan/plan.h"

#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"

namespace kerf {
namespace {

// GGUF's llama wants the pairs that rotate together side by side: row (head, pair, half) of the file is row
// (head, half, pair) of the checkpoint.
std::vector<int64_t> interleaved(int64_t rows, int64_t head_dim) {
  std::vector<int64_t> source;
  const int64_t pairs = head_dim / 2;
  for (int64_t head = 0; head < rows / head_dim; ++head)
    for (int64_t pair = 0; pair < pairs; ++pair)
      for (int64_t half = 0; half < 2; ++half) source.push_back(head * head_dim + half * pairs + pair);
  return source;
}

class Planner {
 public:
  Planner(const Architecture& a, const TargetChoice& choice, bool strict, const ChooseStorage& storage)
      : a_(a), gguf_(choice.target->repository() == "gguf"), strict_(strict), storage_(storage) {
    plan_.choice = choice;
  }

  TargetPlan make() {
    add_matrix(a_.embedding());
    if (!a_.tied) add_matrix(a_.head());
    for (const ExpectedTensor& t : a_.expected_tensors(-1)) add_if_vector(t, -1);
    if (gguf_ && a_.rope_divisors() != std::vector<float>(static_cast<size_t>(a_.head_dim / 2), 1.0f) &&
        a_.rope.scaling != RopeScaling::linear)
      add_rope_divisors();
    for (int64_t layer = 0; layer < a_.layers; ++layer) {
      for (const Site& site : a_.block_sites(layer)) add_matrix(site);
      for (const ExpectedTensor& t : a_.expected_tensors(layer)) add_if_vector(t, layer);
    }
    return std::move(plan_);
  }

 private:
  // The name in the file of a tensor of the checkpoint.
  std::string file_name(const std::string& checkpoint, int64_t layer) const {
    if (!gguf_) return checkpoint;
    for (const RoleName& role : a_.names)
      for (const char* suffix : {".weight", ".bias"})
        if (a_.checkpoint_name(role.role, layer, suffix) == checkpoint)
          return a_.gguf_tensor_name(role.role, layer, suffix);
    fail(ErrorKind::internal, "{} has no name in GGUF", checkpoint);
  }

  std::vector<int64_t> row_order(const std::string& checkpoint, int64_t layer, int64_t rows) const {
    if (!gguf_ || !a_.permute_qk_for_gguf || layer < 0) return {};
    for (const char* role : {"attn_q", "attn_k"})
      for (const char* suffix : {".weight", ".bias"})
        if (a_.checkpoint_name(role, layer, suffix) == checkpoint) return interleaved(rows, a_.head_dim);
    return {};
  }

  size_t add_tensor(std::string name, std::string type, std::vector<int64_t> shape, uint64_t bytes) {
    plan_.file.tensors.push_back({std::move(name), std::move(type), std::move(shape), bytes});
    return plan_.file.tensors.size() - 1;
  }

  void add_matrix(const Site& site) {
    PlannedMatrix m{.site = site, .scheme = plan_.choice.scheme};
    m.storage = storage_(shape_of(a_, site));
    if (!m.storage.remark.empty()) {
      if (strict_) fail(ErrorKind::unsupported, "{} (refused because of --strict)", m.storage.remark);
      if (std::find(plan_.remarks.begin(), plan_.remarks.end(), m.storage.remark) == plan_.remarks.end())
        plan_.remarks.push_back(m.storage.remark);
    }
    m.source_row = row_order(site.name, site.layer, site.out);
    const std::string stem = file_name(site.name, site.layer);
    const std::string base = stem.substr(0, stem.size() - std::strlen("weight"));
    if (m.storage.layout) {
      m.parts = m.storage.layout->plan(m.storage.scheme, site.out, site.in);
    } else {
      const auto row = static_cast<uint64_t>(bytes_of(m.storage.dense, site.in));
      m.parts = {{.suffix = "weight",
                  .type = std::string(name_of(m.storage.dense)),
                  .shape = {site.out, site.in},
                  .bytes = row * static_cast<uint64_t>(site.out),
                  .row_bytes = row}};
    }
    for (const LayoutTensor& part : m.parts) {
      m.file_tensors.push_back(add_tensor(base + part.suffix, part.type, part.shape, part.bytes));
      if (part.is_constant()) plan_.constants.push_back({m.file_tensors.back(), part.constant});
    }
    plan_.matrices.push_back(std::move(m));
  }

  void add_if_vector(const ExpectedTensor& t, int64_t layer) {
    if (t.shape.size() != 1) return;
    PlannedVector v{.name = t.name, .size = t.shape[0], .dtype = plan_.choice.target->vector_dtype(a_.dtype)};
    v.source_row = row_order(t.name, layer, v.size);
    v.file_tensor = add_tensor(file_name(t.name, layer), std::string(name_of(v.dtype)), t.shape,
                               static_cast<uint64_t>(bytes_of(v.dtype, v.size)));
    plan_.vectors.push_back(std::move(v));
  }

  void add_rope_divisors() {
    const std::vector<float> divisors = a_.rope_divisors();
    const auto bytes = std::as_bytes(std::span(divisors));
    const size_t at = add_tensor("rope_freqs.weight", "F32", {static_cast<int64_t>(divisors.size())}, bytes.size());
    plan_.constants.push_back({at, {bytes.begin(), bytes.end()}});
  }

  const Architecture& a_;
  const bool gguf_, strict_;
  const ChooseStorage& storage_;
  TargetPlan plan_;
};

}  // namespace

SiteShape shape_of(const Architecture& a, const Site& s) {
  return {.role = s.role,
          .name = s.name,
          .out = s.out,
          .in = s.in,
          .layer = s.layer,
          .model = {.layers = a.layers, .heads = a.heads, .kv_heads = a.kv_heads, .tied = a.tied}};
}

TargetPlan make_plan(const Architecture& a, const TargetChoice& choice, const std::string& name, bool strict,
                     std::span<const SiteOverride> overrides, bool importance) {
  const auto scheme_of = [&](std::string_view tensor, std::string_view role) {
    std::string scheme = choice.scheme;
    for (const SiteOverride& o : overrides)
      if (!o.scheme.empty() && concerns(o, tensor, role)) scheme = choice.target->canonical_of_matrix(o.scheme);
    return scheme;
  };
  TargetPlan plan = make_plan(a, choice, name, strict, [&](SiteShape site) {
    site.importance = importance;
    return choice.target->storage(scheme_of(site.name, site.role), site, a.dtype);
  });
  for (const SiteOverride& o : overrides) {
    bool used = false;
    for (PlannedMatrix& m : plan.matrices) {
      if (!concerns(o, m.site.name, m.site.role)) continue;
      used = true;
      m.scheme = scheme_of(m.site.name, m.site.role);
      if (!o.method.empty()) m.method = o.method;
    }
    if (!used)
      fail(ErrorKind::usage,
           "the override of {} concerns no matrix of the model; its matrices are called like {}, with roles such as {}",
           fmt::join(o.sites, ", "), plan.matrices.back().site.name, plan.matrices.back().site.role);
  }
  return plan;
}

TargetPlan make_plan(const Architecture& a, const TargetChoice& choice, const std::string&, bool strict,
                     const ChooseStorage& storage) {
  return Planner(a, choice, strict, storage).make();
}

uint64_t TargetPlan::bytes() const {
  uint64_t n = 0;
  for (const PlannedTensor& t : file.tensors) n += t.bytes;
  return n;
}

std::string TargetPlan::hash() const {
  // FNV-1a over one line per tensor; this names a plan, it does not guard against malice.
  uint64_t h = 0xcbf29ce484222325u;
  const auto mix = [&](std::string_view text) {
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  };
  mix(choice.text());
  for (const PlannedTensor& t : file.tensors) mix(fmt::format("{} {} {}\n", t.name, t.type, fmt::join(t.shape, "x")));
  for (const PlannedMatrix& m : matrices)
    if (m.scheme != choice.scheme || !m.method.empty()) mix(fmt::format("{} {} {}\n", m.site.name, m.scheme, m.method));
  return fmt::format("{:016x}", h);
}

}  // namespace kerf
