// What tests of refusals ask: that an Error came, of which kind, and what its sentence says.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/error.h"

namespace kerf::test {

inline bool mentions(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// The sentence of the Error that f() ends with. The test fails when there is none, or one of another kind.
template <class F>
std::string refusal(F&& f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

}  // namespace kerf::test
