#include "prune/slice.h"

#include <algorithm>

#include "core/error.h"
#include "model/arch/family.h"
#include "prune/token_ids.h"

namespace kerf {
namespace {

void cut_axis(Axis& axis, int64_t kept) {
  const int64_t size = axis.groups > 1 ? axis.group_size() : 1;
  if (axis.groups > 1) axis.groups = kept;
  axis.size = kept * size;
}

void refuse_part(const Architecture& a, const Param& p) {
  if (p.checkpoint.row_begin == 0 && p.checkpoint.row_end < 0) return;
  fail(ErrorKind::unsupported,
       "{} is a part of the tensor {} in checkpoints of {}; kerf prunes models whose matrices are tensors of their own",
       p.role, p.checkpoint.tensor, a.family);
}

// What scales the embedding: Gemma's factor follows the width.
double embedding_scale(const Architecture& a) {
  double by = 1;
  for (const Op& op : a.before)
    if (const auto* s = op.as<Scale>()) by *= s->by;
  return by;
}

// Scalings as the family has them for this shape.
void take_scales(Architecture& a) {
  const Architecture own = describe_architecture(write_config(a));
  for (size_t i = 0; i < a.before.size(); ++i)
    if (auto* s = std::get_if<Scale>(&a.before[i].what)) *s = *own.before[i].as<Scale>();
}

// Shapes follow the axes.
void reshape(const Architecture& a, Op& op) {
  const auto size = [&](AxisId id) { return a.axis(id).size; };
  if (auto* e = std::get_if<Embed>(&op.what)) {
    refuse_part(a, e->weight);
    e->weight.shape = {size(a.axis_named("vocab")), size(op.axis)};
  } else if (auto* n = std::get_if<Norm>(&op.what)) {
    const int64_t over = n->per_group ? a.axis(op.axis).group_size() : size(op.axis);
    n->weight.shape = {over};
    if (n->bias) n->bias->shape = {over};
  } else if (auto* m = std::get_if<MatMul>(&op.what)) {
    refuse_part(a, m->weight);
    m->weight.shape = {size(op.axis), size(m->in)};
    if (m->bias) m->bias->shape = {size(op.axis)};
  }
}

// [begin, begin + count): columns or rows that are neighbours in the original.
template <class F>
void for_runs(std::span<const int64_t> kept, F&& f) {
  for (size_t i = 0; i < kept.size();) {
    size_t end = i + 1;
    while (end < kept.size() && kept[end] == kept[end - 1] + 1) ++end;
    f(kept[i], static_cast<int64_t>(i), static_cast<int64_t>(end - i));
    i = end;
  }
}

}  // namespace

Architecture sliced(const Architecture& original, const Correspondence& kept) {
  Architecture a = original;
  for (Axis& axis : a.axes) {
    if (axis.name == "vocab" && !kept.tokens.empty()) cut_axis(axis, static_cast<int64_t>(kept.tokens.size()));
    if (const auto* list = kept.kept(axis.name, -1)) cut_axis(axis, static_cast<int64_t>(list->size()));
  }
  if (!kept.layers.empty()) {
    a.kind_of_layer.clear();
    for (const int64_t layer : kept.layers)
      a.kind_of_layer.push_back(original.kind_of_layer[static_cast<size_t>(layer)]);
  }
  for (Ops* ops : {&a.before, &a.after})
    for (Op& op : *ops) reshape(a, op);
  for (Ops& ops : a.kinds)
    for (Op& op : ops) reshape(a, op);
  if (original.hidden() != a.hidden()) take_scales(a);
  if (kept.tokens.empty()) return a;
  if (a.bos) a.bos = new_id(kept.tokens, *a.bos);
  std::vector<int32_t> ends;
  for (const int32_t id : a.eos)
    if (const auto now = new_id(kept.tokens, id)) ends.push_back(*now);
  a.eos = std::move(ends);
  return a;
}

int64_t parameters_of(const Architecture& a) {
  int64_t sum = 0;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& t : a.expected_tensors(layer)) {
      int64_t n = 1;
      for (const int64_t size : t.shape) n *= size;
      sum += n;
    }
  return sum;
}

std::vector<int64_t> others_than(std::span<const int64_t> rising, int64_t n) {
  std::vector<int64_t> others;
  for (int64_t i = 0; i < n; ++i)
    if (!std::binary_search(rising.begin(), rising.end(), i)) others.push_back(i);
  return others;
}

std::vector<int64_t> kept_elements(const Axis& axis, const Correspondence& c, int64_t layer) {
  if (axis.name == "vocab") return {c.tokens.begin(), c.tokens.end()};
  const std::vector<int64_t>* groups = c.kept(axis.name, layer);
  if (!groups) return {};
  const int64_t size = axis.groups > 1 ? axis.group_size() : 1;
  std::vector<int64_t> elements;
  for (const int64_t group : *groups)
    for (int64_t i = 0; i < size; ++i) elements.push_back(group * size + i);
  return elements;
}

SlicedWeights::SlicedWeights(const Architecture& original, const TensorSource& source, const Correspondence& kept)
    : source_(source) {
  const Architecture small = sliced(original, kept);
  // The embedding makes up for a scaling that is another one now, and before a head that is the embedding the norm
  // does.
  const double rescaled = embedding_scale(original) / embedding_scale(small);
  const auto of = [&](AxisId id, int64_t layer) { return kept_elements(original.axis(id), kept, layer); };
  const auto add_ops = [&](const Ops& ops, int64_t layer) {
    const int64_t from = layer < 0 ? layer : kept.layer(layer);
    const auto add_param = [&](const Param& p, std::vector<int64_t> rows, std::vector<int64_t> cols, double by = 1) {
      add(weight_name(p, layer), p.shape, weight_name(p, from),
          {.rows = std::move(rows), .cols = std::move(cols), .by = static_cast<float>(by)});
    };
    for (const Op& op : ops) {
      const std::vector<int64_t> out = of(op.axis, layer);
      if (const auto* e = op.as<Embed>()) add_param(e->weight, of(original.axis_named("vocab"), layer), out, rescaled);
      if (const auto* n = op.as<Norm>()) {
        const bool before_tied_head = small.tied && &ops == &small.after;
        add_param(n->weight, n->per_group ? std::vector<int64_t>() : out, {}, before_tied_head ? 1 / rescaled : 1);
        if (n->bias) add_param(*n->bias, n->per_group ? std::vector<int64_t>() : out, {});
      }
      if (const auto* m = op.as<MatMul>()) {
        if (layer >= 0 || !small.tied) add_param(m->weight, out, of(m->in, layer));
        if (m->bias) add_param(*m->bias, out, {});
      }
    }
  };
  add_ops(small.before, -1);
  for (int64_t layer = 0; layer < small.layers(); ++layer) add_ops(small.block(layer), layer);
  add_ops(small.after, -1);
}

void SlicedWeights::add(const std::string& name, std::vector<int64_t> shape, const std::string& original, Part part) {
  const TensorInfo* whole = source_.find(original);
  if (!whole) fail(ErrorKind::internal, "there is no tensor {} to cut", original);
  TensorInfo info = *whole;
  info.name = name;
  info.shape = std::move(shape);
  index_.emplace(name, infos_.size());
  infos_.push_back(std::move(info));
  part.whole = whole;
  parts_.push_back(std::move(part));
}

const TensorInfo* SlicedWeights::find(std::string_view name) const {
  const auto at = index_.find(std::string(name));
  return at == index_.end() ? nullptr : &infos_[at->second];
}

void SlicedWeights::read(const TensorInfo& info, int64_t row_begin, std::span<float> out) const {
  const Part& part = parts_[index_.at(info.name)];
  read_part(part, info, row_begin, out);
  if (part.by == 1.0F) return;
  for (float& x : out) x = (x + info.plus) * part.by - info.plus;
}

void SlicedWeights::read_part(const Part& part, const TensorInfo& info, int64_t row_begin, std::span<float> out) const {
  const int64_t cols = info.cols(), rows = static_cast<int64_t>(out.size()) / cols, width = part.whole->cols();
  const auto read_rows = [&](int64_t from, int64_t at, int64_t count) {
    const std::span<float> to = out.subspan(static_cast<size_t>(at * cols), static_cast<size_t>(count * cols));
    if (part.cols.empty()) return source_.read(*part.whole, from, to);
    std::vector<float> whole(static_cast<size_t>(count * width));
    source_.read(*part.whole, from, whole);
    for (int64_t r = 0; r < count; ++r)
      for_runs(part.cols, [&](int64_t col, int64_t to_col, int64_t n) {
        std::copy_n(whole.data() + r * width + col, n, to.data() + r * cols + to_col);
      });
  };
  if (part.rows.empty()) return read_rows(row_begin, 0, rows);
  for_runs(std::span(part.rows).subspan(static_cast<size_t>(row_begin), static_cast<size_t>(rows)), read_rows);
}

}  // namespace kerf
