#include "core/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

// The examples of FIPS 180-2, appendix B.
TEST(Sha256, AgreesWithThePublishedExamples) {
  test::TempDir dir;
  write_text(dir / "a", "abc");
  EXPECT_EQ(sha256_of(dir / "a"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  write_text(dir / "b", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq");
  EXPECT_EQ(sha256_of(dir / "b"), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  write_text(dir / "empty", "");
  EXPECT_EQ(sha256_of(dir / "empty"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// Parts of awkward sizes in a random order, as threads finish them.
TEST(RunningSha256, EqualsTheSumOfTheFileInWhateverOrderItsPartsCome) {
  test::TempDir dir;
  std::string text(300000, ' ');
  std::mt19937 rng(1);
  for (char& c : text) c = static_cast<char>(rng());
  std::vector<std::pair<size_t, size_t>> parts;  // offset, size
  for (size_t at = 0, n; at < text.size(); at += n) {
    n = std::min(text.size() - at, static_cast<size_t>(1 + rng() % 9000));
    parts.emplace_back(at, n);
  }
  for (int order = 0; order < 3; ++order) {  // as it is, backwards, shuffled
    if (order == 1) std::reverse(parts.begin(), parts.end());
    if (order == 2) std::shuffle(parts.begin(), parts.end(), rng);
    AtomicFile file(dir / "a");
    RunningSha256 sum([&](uint64_t offset, std::span<std::byte> to) { file.read_at(offset, to); });
    parallel_for(std::ssize(parts), [&](int64_t i) {
      const auto [offset, n] = parts[static_cast<size_t>(i)];
      const auto bytes = as_bytes(std::string_view(text).substr(offset, n));
      file.write_at(offset, bytes);
      sum.wrote(offset, bytes);
    });
    file.commit();
    EXPECT_EQ(sum.finish(text.size()), sha256_of(dir / "a"));
  }
}

TEST(RunningSha256, RefusesToFinishWithAGap) {
  RunningSha256 sum([](uint64_t, std::span<std::byte>) {});
  sum.wrote(0, as_bytes("ab"));
  sum.wrote(3, as_bytes("d"));
  EXPECT_THROW(sum.finish(4), Error);
}

}  // namespace
}  // namespace kerf
