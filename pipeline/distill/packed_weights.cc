#include "pipeline/distill/packed_weights.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/parallel.h"
#include "distill/adapted_matrix.h"
#include "distill/trained_matrix.h"
#include "grids/grid.h"
#include "model/run/weights.h"
#include "pipeline/plan/pack.h"

namespace kerf {
namespace {

std::span<const std::byte> bytes_of(const Artifact& a, const TargetPlan& plan, const PlannedMatrix& m, size_t part) {
  const std::string& name = plan.file.tensors[m.file_tensors[part]].name;
  const StoredTensor* t = a.weights->reader().find(name);
  if (!t) fail(ErrorKind::internal, "{} was read back without {}", a.path.string(), name);
  return t->bytes;
}

// With the rows of the checkpoint.
QuantizedMatrix unpack(const Artifact& a, const TargetPlan& plan, const PlannedMatrix& m) {
  std::vector<std::span<const std::byte>> parts;
  for (size_t i = 0; i < m.parts.size(); ++i)
    parts.push_back(m.parts[i].is_constant() ? std::span<const std::byte>(m.parts[i].constant)
                                             : bytes_of(a, plan, m, i));
  QuantizedMatrix q = m.storage.layout->unpack(m.storage.scheme, m.site.out, m.site.in, parts);
  if (m.source_row.empty()) return q;
  std::vector<int64_t> file_row(m.source_row.size());
  for (size_t r = 0; r < file_row.size(); ++r) file_row[static_cast<size_t>(m.source_row[r])] = static_cast<int64_t>(r);
  return reordered(q, file_row);
}

// The bytes of a matrix as they lie in the file.
void copy_matrix(const Artifact& a, const TargetPlan& plan, const PlannedMatrix& m, Writer& writer) {
  for (size_t i = 0; i < m.parts.size(); ++i) {
    if (m.parts[i].is_constant()) continue;
    writer.write(m.file_tensors[i], 0, bytes_of(a, plan, m, i));
  }
}

std::vector<float> decoded(const QuantizedMatrix& q) {
  std::vector<float> values(static_cast<size_t>(q.rows * q.cols));
  find_grid(q.scheme.grid).decode(q, values);
  return values;
}

// The share of weights whose code is the nearest to w.
double nearest_codes(const QuantizedMatrix& q, std::span<const float> w) {
  if (q.scheme.codeword > 1) return 0;
  QuantizedMatrix nearest = q;
  find_grid(q.scheme.grid).encode(w, nearest);
  int64_t same = 0;
  for (size_t i = 0; i < q.codes.size(); ++i) same += q.codes[i] == nearest.codes[i];
  return static_cast<double>(same) / static_cast<double>(std::max<size_t>(1, q.codes.size()));
}

}  // namespace

PackedWeights read_packed(const Artifact& a, const TargetPlan& plan) {
  PackedWeights w;
  for (const PlannedMatrix& m : plan.matrices)
    if (m.storage.layout) w.packed[m.site.name];
  parallel_for(std::ssize(plan.matrices), [&](int64_t i) {
    const PlannedMatrix& m = plan.matrices[static_cast<size_t>(i)];
    if (m.storage.layout) w.packed.at(m.site.name) = unpack(a, plan, m);
  });
  return w;
}

Student make_student(const PackedWeights& weights, const Artifact& a, const TargetPlan& plan, DistillPhase phase,
                     const OriginalWeights& original, int64_t rank) {
  std::set<std::string> pruned;
  for (const PlannedMatrix& m : plan.matrices)
    if (m.sparsity) pruned.insert(m.site.name);
  // Codes that are not the nearest ones were chosen together (error feedback): block by block they stay.
  constexpr double kNearest = 0.99;
  // Nearest codes begin where their weights are, the border of the cell apart.
  constexpr float kHalfStep = 0.49F;
  const auto plain = [&](const std::string& name) {
    const auto changed = weights.plain.find(name);
    return changed != weights.plain.end() ? changed->second : read_vector(*a.weights, name);
  };
  return {a.architecture, [&](const std::string& name, Student::Role role) -> std::unique_ptr<TrainedTensor> {
            const TensorInfo& info = *a.weights->find(name);
            if (phase == DistillPhase::lora) {
              const auto at = weights.packed.find(name);
              std::vector<float> values = at != weights.packed.end() ? decoded(at->second) : plain(name);
              if (role == Student::Role::matrix)
                return std::make_unique<AdaptedMatrix>(std::move(values), info.rows(), info.cols(), rank);
              return std::make_unique<PlainTensor>(std::move(values), info.cols(), false);
            }
            if (const auto at = weights.packed.find(name); at != weights.packed.end()) {
              TrainedMatrix::Trains trains{.codes = phase != DistillPhase::scales, .keep_zeros = pruned.contains(name)};
              std::vector<float> wanted;
              if (trains.codes) wanted = original.values(name);
              const bool nearest = !wanted.empty() && nearest_codes(at->second, wanted) >= kNearest;
              if (phase == DistillPhase::blocks) {
                trains.codes = nearest;
                trains.most_at_first = kHalfStep;
              }
              return std::make_unique<TrainedMatrix>(at->second, trains, wanted);
            }
            const bool trained = role == Student::Role::vector || phase == DistillPhase::full;
            return std::make_unique<PlainTensor>(plain(name), info.cols(), trained, pruned.contains(name));
          }};
}

Untrained untrained(const Student& student) {
  Untrained u;
  for (const auto& [name, tensor] : student.tensors())
    if (const auto* matrix = dynamic_cast<const TrainedMatrix*>(tensor.get())) {
      ++u.matrices;
      u.scales += !matrix->trains_scales();
      u.codes += !matrix->trains_codes();
    }
  return u;
}

void take_back(Student& student, PackedWeights& weights) {
  for (const auto& [name, tensor] : student.tensors()) {
    if (!tensor->trained()) continue;
    if (const auto* matrix = dynamic_cast<const TrainedMatrix*>(tensor.get()))
      weights.packed.at(name) = matrix->matrix();
    else if (const auto* adapted = dynamic_cast<const AdaptedMatrix*>(tensor.get()))
      weights.adapters[name] = adapted->adapter();
    else
      weights.plain[name] = tensor->values();
  }
}

void write_packed(const PackedWeights& weights, const Artifact& a, const TargetPlan& plan, Writer& writer) {
  const PackJob job{&plan, &writer};
  Replaced vectors;
  for (const PlannedVector& v : plan.vectors)
    if (const auto at = weights.plain.find(v.name); at != weights.plain.end()) vectors[v.name] = at->second;
  write_vectors(*a.weights, job, vectors);
  parallel_for(std::ssize(plan.matrices), [&](int64_t i) {
    const PlannedMatrix& m = plan.matrices[static_cast<size_t>(i)];
    const auto packed = weights.packed.find(m.site.name);
    const auto plain = weights.plain.find(m.site.name);
    if (packed != weights.packed.end())
      write_matrix(job, m, packed->second);
    else if (plain != weights.plain.end())
      write_matrix(job, m, plain->second);
    else
      copy_matrix(a, plan, m, writer);
  });
}

}  // namespace kerf
