#include "core/sha256.h"

#include <gtest/gtest.h>

#include "core/file.h"
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

}  // namespace
}  // namespace kerf
