#include "verify/gate.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "core/error.h"
#include "verify/metric.h"

namespace kerf {
namespace {

TEST(Gate, ParsesLimitsUnitsAndShortNames) {
  const Gate g = parse_gate("kl<0.05, ppl_ratio<=1.03,top1>90%,bytes<90.5MB,bpw<4.5");
  ASSERT_EQ(g.limits.size(), 5u);
  EXPECT_EQ(g.limits[0].metric, "kl_mean");
  EXPECT_EQ(g.limits[1].metric, "ppl_ratio");
  EXPECT_FALSE(g.limits[1].strict);
  EXPECT_DOUBLE_EQ(g.limits[2].value, 0.9);
  EXPECT_FALSE(g.limits[2].below);
  EXPECT_DOUBLE_EQ(g.limits[3].value, 90.5e6);
  EXPECT_EQ(parse_gate("ratio<3%").limits[0].metric, "ppl_ratio");
  EXPECT_DOUBLE_EQ(parse_gate("bytes<1.5GiB").limits[0].value, 1.5 * 0x1p30);
  EXPECT_DOUBLE_EQ(parse_gate("bytes<2TB").limits[0].value, 2e12);
  EXPECT_TRUE(parse_gate("").limits.empty());
}

TEST(Gate, RefusesWhatItDoesNotKnow) {
  for (const char* bad : {"kl", "<3", "speed<3", "kl<", "kl<abc", "bytes<9XB", "kl<0.1;ppl<2", "kl<5MB", "bytes<90%",
                          "ppl<3%", "kl<inf", "bytes<2,5MB"})
    EXPECT_THROW(parse_gate(bad), Error) << bad;
}

// The table's column ppl is absolute, and so is the gate: a file of perplexity 117 does not pass ppl<60.
TEST(Gate, PplIsThePerplexityItself) {
  const std::map<std::string, double> figures = {{"ppl_packed", 117.0}, {"ppl_ratio", 1.01}};
  EXPECT_FALSE(check_gate(parse_gate("ppl<60"), figures).passed);
  EXPECT_TRUE(check_gate(parse_gate("ppl<120,ppl_ratio<1.03"), figures).passed);
  EXPECT_EQ(find_metric("ppl")->column, "ppl");
  EXPECT_TRUE(remarks_on(parse_gate("ppl<60,ppl_ratio<1.03")).empty());
  for (const char* old : {"ppl<1.03", "kl<1,ppl<=1.5"}) {
    const std::vector<std::string> remarks = remarks_on(parse_gate(old));
    ASSERT_EQ(remarks.size(), 1u) << old;
    EXPECT_NE(remarks[0].find("ppl_ratio"), std::string::npos) << remarks[0];
  }
}

TEST(Gate, SaysWhichLimitWasMissedAndByWhat) {
  const GateResult r = check_gate(parse_gate("kl<0.05,top1>0.9"), {{"kl_mean", 0.07}, {"top1", 0.95}});
  EXPECT_FALSE(r.passed);
  ASSERT_EQ(r.missed.size(), 1u);
  EXPECT_EQ(r.missed[0], "kl<0.05: measured 0.07");
  EXPECT_TRUE(check_gate(parse_gate("kl<0.05"), {{"kl_mean", 0.01}}).passed);
}

TEST(Gate, TheLimitItselfPassesOnlyWhenItIsIncluded) {
  EXPECT_FALSE(check_gate(parse_gate("kl<0.5"), {{"kl_mean", 0.5}}).passed);
  EXPECT_TRUE(check_gate(parse_gate("kl<=0.5"), {{"kl_mean", 0.5}}).passed);
}

TEST(Gate, NanMissesEveryLimit) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(check_gate(parse_gate("kl<0.5"), {{"kl_mean", nan}}).passed);
  EXPECT_FALSE(check_gate(parse_gate("top1>0.5"), {{"top1", nan}}).passed);
}

TEST(Gate, AnUnmeasuredMetricIsAnErrorNotAPass) {
  EXPECT_THROW(check_gate(parse_gate("kl<0.5"), {{"bytes", 1}}), Error);
}

TEST(Metrics, EachCanLimitAGateAndIsShownInItsFormat) {
  Verification v;
  v.comparison.ppl = 6.25;
  v.comparison.kl_mean = 0.0123456789;
  v.comparison.top1 = 0.5;
  v.sites = {{.name = "a", .relative = 0.25}, {.name = "b", .relative = 0.125}};
  const Measurement files{.bytes = 1234567, .bpw = {4.5, 4.25, 8}};
  Measurement all = files;
  all.verification = &v;
  std::set<std::string_view> names;
  for (const Metric& m : all_metrics()) {
    EXPECT_TRUE(names.insert(m.name).second) << m.name;
    EXPECT_TRUE(m.alias.empty() || names.insert(m.alias).second) << m.alias;
    EXPECT_EQ(parse_gate(std::string(m.name) + "<1").limits.at(0).metric, m.name);
    EXPECT_EQ(figures(all).at(std::string(m.name)), m.get(all)) << m.name;
    EXPECT_EQ(figures(files).count(std::string(m.name)), m.needs_verification ? 0u : 1u) << m.name;
    EXPECT_EQ(metrics_without_text().count(std::string(m.name)), m.needs_verification ? 0u : 1u) << m.name;
    EXPECT_EQ(shown(m, files) == "-", m.needs_verification) << m.name;
    EXPECT_EQ(find_metric(m.name), &m);
    if (!m.alias.empty()) {
      EXPECT_EQ(find_metric(m.alias), &m);
    }
  }
  EXPECT_EQ(filled_in("{bytes} bytes, {kl_mean}, {top1} of {ppl_packed}; {site_error_max}", all),
            "1234567 bytes, 0.012346, 0.5000 of 6.2500; 0.250000");
  EXPECT_EQ(find_metric(""), nullptr);
  EXPECT_THROW(filled_in("{nothing}", all), Error);
}

}  // namespace
}  // namespace kerf
