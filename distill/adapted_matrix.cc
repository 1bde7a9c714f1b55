#include "distill/adapted_matrix.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/dense/dense.h"

namespace kerf {
AdaptedMatrix::AdaptedMatrix(std::vector<float> base, int64_t out, int64_t in, int64_t rank)
    : base_(std::move(base)),
      factors_{.out = out,
               .in = in,
               .rank = rank,
               .b = std::vector<float>(static_cast<size_t>(out * rank)),
               .a = std::vector<float>(static_cast<size_t>(rank * in))},
      d_factors_(factors_),
      values_(base_) {}

void AdaptedMatrix::start(const LowRank& from) {
  if (from.out != factors_.out || from.in != factors_.in || from.rank != factors_.rank)
    fail(ErrorKind::internal, "an adapter of another shape");
  factors_ = from;
  settle();
}

void AdaptedMatrix::row(int64_t r, std::span<float> out) const {
  std::copy_n(values_.begin() + r * factors_.in, factors_.in, out.begin());
}

void AdaptedMatrix::add_gradient(std::span<const float> d) {
  const LowRank now = adapter();
  const auto [out, in, rank] = std::tuple(now.out, now.in, now.rank);
  std::vector<float> d_b(static_cast<size_t>(out * rank));
  matmul_nt(out, rank, in, d.data(), in, now.a.data(), in, d_b.data(), rank);
  std::transform(d_b.begin(), d_b.end(), d_factors_.b.begin(), d_factors_.b.begin(), std::plus<>());
  add_product_tn(out, rank, in, now.b.data(), rank, d.data(), in, d_factors_.a.data(), false);
}

void AdaptedMatrix::add_row_gradient(int64_t, std::span<const float>) {
  fail(ErrorKind::internal, "an embedding with an adapter");
}

std::vector<Parameter> AdaptedMatrix::parameters() {
  // Where one of both is still zero, as if their product were one hundredth of the matrix.
  constexpr float kBeginning = 0.01F;
  const float of_b = root_mean_square(factors_.b), of_a = root_mean_square(factors_.a),
              wanted = kBeginning * root_mean_square(base_) / std::sqrt(static_cast<float>(factors_.rank));
  const auto unit = [&](float own, float other) {
    return own > 0 ? own : other > 0 ? wanted / other : std::sqrt(wanted);
  };
  return {{.values = factors_.b, .gradient = d_factors_.b, .unit = unit(of_b, of_a)},
          {.values = factors_.a, .gradient = d_factors_.a, .unit = unit(of_a, of_b)}};
}

void AdaptedMatrix::settle() {
  values_ = base_;
  const LowRank now = adapter();
  add_product_nn(now.out, now.rank, now.in, now.b.data(), now.rank, now.a.data(), now.in, values_.data(), now.in);
}

LowRank AdaptedMatrix::adapter() const {
  LowRank stored = factors_;
  round_to(kAdapterType, stored.b);
  round_to(kAdapterType, stored.a);
  return stored;
}

}  // namespace kerf
