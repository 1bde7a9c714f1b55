#include "pipeline/plan/plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>

#include "core/checked.h"
#include "core/error.h"
#include "model/arch/family.h"
#include "pipeline/plan/site_pattern.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {

// Row (head, pair, half) of the file is row (head, half, pair) of the checkpoint.
std::vector<int64_t> interleaved(int64_t rows, int64_t head_dim) {
  std::vector<int64_t> source;
  const int64_t pairs = head_dim / 2;
  for (int64_t head = 0; head < rows / head_dim; ++head)
    for (int64_t pair = 0; pair < pairs; ++pair)
      for (int64_t half = 0; half < 2; ++half) source.push_back(head * head_dim + half * pairs + pair);
  return source;
}

// Of the matrices of the blocks, each once, rising.
std::vector<int64_t> input_widths(const Architecture& a) {
  std::set<int64_t> widths;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) widths.insert(site.in);
  return {widths.begin(), widths.end()};
}

class Planner {
 public:
  Planner(const Architecture& a, const TargetChoice& choice, bool strict, const ChooseStorage& storage)
      : a_(a), gguf_(choice.target->names() == TensorNames::gguf), strict_(strict), storage_(storage) {
    plan_.choice = choice;
    plan_.dtype = a.dtype;
  }

  TargetPlan make() {
    if (gguf_) (void)gguf_keys(a_);  // refuses what llama.cpp would compute otherwise
    for (int64_t layer = -1; layer < a_.layers(); ++layer)
      for (const ExpectedTensor& t : a_.expected_tensors(layer)) {
        if (!gguf_ && t.name != t.stored.tensor)
          fail(ErrorKind::unsupported,
               "{} is a part of the checkpoint's tensor {}, which {} would have to store in one piece; choose a GGUF "
               "target",
               t.name, t.stored.tensor, plan_.choice.target->name());
        if (!gguf_ && t.stored.transposed)
          fail(ErrorKind::unsupported,
               "the checkpoint holds {} as [inputs, outputs], and {} stores matrices as [outputs, inputs]; choose a "
               "GGUF target",
               t.name, plan_.choice.target->name());
        expected_.emplace(t.name, t);
      }
    add_matrix(a_.embedding());
    if (!a_.tied) add_matrix(a_.head());
    add_vectors(-1);
    if (gguf_) add_rope_factors();
    for (int64_t layer = 0; layer < a_.layers(); ++layer) {
      for (const Site& site : a_.block_sites(layer)) add_matrix(site);
      add_vectors(layer);
    }
    remark(plan_.choice.target->remark_on(stored_sites(plan_)));
    return std::move(plan_);
  }

 private:
  void remark(const std::string& text) {
    if (text.empty()) return;
    if (strict_) fail(ErrorKind::unsupported, "{} (refused because of --strict)", text);
    if (std::find(plan_.remarks.begin(), plan_.remarks.end(), text) == plan_.remarks.end())
      plan_.remarks.push_back(text);
  }

  std::string file_name(const ExpectedTensor& t) const { return gguf_ ? t.gguf : t.name; }

  std::vector<int64_t> row_order(const ExpectedTensor& t) const {
    if (!gguf_ || t.interleaved == 0) return {};
    return interleaved(t.shape[0], t.interleaved);
  }

  size_t add_tensor(std::string name, std::string type, std::vector<int64_t> shape, uint64_t bytes) {
    plan_.file.tensors.push_back({std::move(name), std::move(type), std::move(shape), bytes});
    return plan_.file.tensors.size() - 1;
  }

  void add_matrix(const Site& site) {
    PlannedMatrix m{.site = site, .scheme = plan_.choice.scheme};
    m.storage = storage_(shape_of(a_, site));
    remark(m.storage.remark);
    const ExpectedTensor& expected = expected_.at(site.name);
    m.source_row = row_order(expected);
    m.row_group = m.source_row.empty() ? 1 : expected.interleaved;
    const std::string stem = file_name(expected);
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

  void add_vectors(int64_t layer) {
    for (const ExpectedTensor& t : a_.expected_tensors(layer)) {
      if (t.shape.size() != 1) continue;
      PlannedVector v{.name = t.name, .size = t.shape[0], .dtype = plan_.choice.target->vector_dtype(a_.dtype)};
      v.source_row = row_order(t);
      v.plus = gguf_ ? t.gguf_plus : t.plus;
      v.file_tensor = add_tensor(file_name(t), std::string(name_of(v.dtype)), t.shape,
                                 static_cast<uint64_t>(bytes_of(v.dtype, v.size)));
      plan_.vectors.push_back(std::move(v));
    }
  }

  void add_rope_factors() {
    const std::vector<float> factors = gguf_rope_factors(a_);
    if (factors.empty()) return;
    const auto bytes = std::as_bytes(std::span(factors));
    const size_t at = add_tensor("rope_freqs.weight", "F32", {static_cast<int64_t>(factors.size())}, bytes.size());
    plan_.constants.push_back({at, {bytes.begin(), bytes.end()}});
  }

  const Architecture& a_;
  const bool gguf_, strict_;
  const ChooseStorage& storage_;
  std::unordered_map<std::string, ExpectedTensor> expected_;
  TargetPlan plan_;
};

// FNV-1a: this names a plan, it does not guard against malice. Texts and lists go with their lengths, so that no two
// plans are the same sequence of bytes.
class PlanHash {
 public:
  void mix(std::string_view text) {
    mix(text.size());
    bytes(text.data(), text.size());
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void mix(T number) { bytes(&number, sizeof number); }
  template <class T>
  void mix(const std::vector<T>& list) {
    mix(list.size());
    for (const auto& each : list) mix(static_cast<T>(each));
  }
  void mix(std::monostate) {}
  void mix(const MetaArray& array) {
    std::visit([&](const auto& values) { mix(values); }, array.values);
  }
  void mix_value(const MetaValue& value) {
    std::visit([&](const auto& v) { mix(v); }, value);
  }
  void mix(const Scheme& s) {
    mix(s.grid);
    mix(s.bits);
    mix(s.codeword);
    for (const Level& l : s.levels) {
      mix(l.block.rows);
      mix(l.block.cols);
      mix(name_of(l.stored));
      mix(l.offset);
      mix(l.lowest);
      mix(l.bits);
    }
  }
  std::string text() const { return fmt::format("{:016x}", h_); }

 private:
  void bytes(const void* data, size_t size) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < size; ++i) h_ = (h_ ^ p[i]) * 0x100000001b3u;
  }

  uint64_t h_ = 0xcbf29ce484222325u;
};

}  // namespace

std::vector<StoredSite> stored_sites(const TargetPlan& plan) {
  std::vector<StoredSite> sites;
  for (const PlannedMatrix& m : plan.matrices)
    sites.push_back({{.name = m.site.name, .place = m.site.place, .out = m.site.out, .in = m.site.in}, m.storage});
  return sites;
}

SiteShape shape_of(const Architecture& a, const Site& s) {
  SiteShape shape{.role = s.role,
                  .name = s.name,
                  .gguf = s.gguf,
                  .place = s.place,
                  .out = s.out,
                  .in = s.in,
                  .layer = s.layer,
                  .model = {.layers = a.layers(), .tied = a.tied}};
  const Ops& ops = s.layer < 0 ? a.kinds.front() : a.block(s.layer);
  if (s.layer >= 0 && !s.fused.empty()) {
    const MatMul* last = nullptr;
    for (const Op& op : ops)
      if (const MatMul* m = op.as<MatMul>(); m && m->fused == s.fused) last = m;
    shape.followed_in_fused = !last || weight_name(last->weight, s.layer) != s.name;
  }
  for (const Op& op : ops)
    if (const Attend* attend = op.as<Attend>()) {
      shape.model.heads = a.axis(op.axis).groups;
      shape.model.kv_heads = a.axis(attend->kv).groups;
    }
  return shape;
}

FittedChoice fitted(const TargetChoice& choice, const Architecture& a) {
  const std::vector<int64_t> widths = input_widths(a);
  FittedChoice f{choice, ""};
  f.choice.scheme = choice.target->fitted(choice.scheme, widths);
  if (f.choice.scheme == choice.scheme) return f;
  const std::vector<int64_t> even = {128};
  if (f.choice.scheme == choice.target->fitted(choice.scheme, even)) return f;
  f.note =
      fmt::format("{}: groups of 128, the default, do not divide the input widths of this model ({}), so {} is taken",
                  choice.text(), fmt::join(widths, ", "), f.choice.scheme);
  return f;
}

TargetPlan make_plan(const Architecture& a, const TargetChoice& given, const std::string& name, bool strict,
                     std::span<const SiteOverride> overrides, bool importance) {
  const TargetChoice choice = fitted(given, a).choice;
  const std::vector<int64_t> widths = input_widths(a);
  std::vector<SitePatterns> patterns;
  for (const SiteOverride& o : overrides) patterns.emplace_back(o.sites);
  const auto scheme_of = [&](std::string_view tensor, std::string_view role) {
    std::string scheme = choice.scheme;
    for (size_t i = 0; i < overrides.size(); ++i)
      if (!overrides[i].scheme.empty() && patterns[i].fit(tensor, role))
        scheme = choice.target->fitted(choice.target->canonical_of_matrix(overrides[i].scheme), widths);
    return scheme;
  };
  TargetPlan plan = make_plan(a, choice, name, strict, [&](SiteShape site) {
    site.importance = importance;
    return choice.target->storage(scheme_of(site.name, site.role), site, a.dtype);
  });
  for (size_t i = 0; i < overrides.size(); ++i) {
    bool used = false;
    for (PlannedMatrix& m : plan.matrices) {
      if (!patterns[i].fit(m.site.name, m.site.role)) continue;
      used = true;
      m.scheme = scheme_of(m.site.name, m.site.role);
      if (!overrides[i].method.empty()) m.method = overrides[i].method;
    }
    if (!used)
      fail(ErrorKind::usage,
           "the override of {} concerns no matrix of the model; its matrices are called like {}, with roles such as {}",
           fmt::join(overrides[i].sites, ", "), plan.matrices.back().site.name, plan.matrices.back().site.role);
  }
  return plan;
}

TargetPlan make_plan(const Architecture& a, const TargetChoice& choice, const std::string&, bool strict,
                     const ChooseStorage& storage) {
  return Planner(a, choice, strict, storage).make();
}

std::string TargetPlan::usual_scheme() const {
  if (choice.scheme != kMixedScheme) return choice.scheme;
  std::map<std::string, int64_t> weights;
  for (const PlannedMatrix& m : matrices) weights[m.scheme] += m.site.out * m.site.in;
  return std::max_element(weights.begin(), weights.end(), [](auto& x, auto& y) { return x.second < y.second; })->first;
}

uint64_t TargetPlan::bytes() const {
  uint64_t n = 0;
  for (const PlannedTensor& t : file.tensors) n += t.bytes;
  return n;
}

std::string TargetPlan::hash() const {
  PlanHash h;
  h.mix(choice.text());
  h.mix(file_name);
  h.mix(file.shard_bytes);
  for (const auto& [key, value] : file.metadata) {
    h.mix(key);
    h.mix(type_name_of(value));
    h.mix_value(value);
  }
  for (const PlannedTensor& t : file.tensors) {
    h.mix(t.name);
    h.mix(t.type);
    h.mix(t.shape);
    h.mix(t.bytes);
  }
  for (const PlannedMatrix& m : matrices) {
    h.mix(m.site.name);
    h.mix(m.scheme);
    h.mix(m.method);
    const Storage& s = m.storage;
    h.mix(s.layout ? s.layout->name() : name_of(s.dense));
    if (s.layout) h.mix(s.scheme);
    h.mix(s.fused_scale);
    h.mix(s.activations ? s.activations->group : -1);
    h.mix(m.source_row);
    h.mix(m.file_tensors);
  }
  for (size_t i = 0; i < matrices.size(); ++i) {
    if (!matrices[i].sparsity) continue;
    h.mix(i);
    h.mix(text_of(*matrices[i].sparsity));
  }
  for (const PlannedVector& v : vectors) {
    h.mix(v.name);
    h.mix(name_of(v.dtype));
    h.mix(v.file_tensor);
    h.mix(v.source_row);
  }
  for (const PlannedConstant& c : constants) {
    h.mix(c.file_tensor);
    h.mix(std::string_view(reinterpret_cast<const char*>(c.bytes.data()), c.bytes.size()));
  }
  return h.text();
}

}  // namespace kerf
