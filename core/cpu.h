// Which instruction set the kernels use on this machine.
#pragma once

#include <string>
#include <string_view>

namespace kerf {

enum class Isa { ref, avx2, avx512 };

std::string_view name_of(Isa);
/// The best class this CPU and operating system offer: avx512 means F, BW, DQ, VL and VNNI; avx2 means AVX2, FMA, F16C.
Isa cpu_isa();
/// The class in use: cpu_isa(), or what KERF_ISA=ref|avx2|avx512 forces. Error usage when the variable names something
/// else, Error unsupported when the CPU lacks what it names. Read once.
Isa isa();
/// One line for `kerf --version` and the report: processor name and the features kerf knows of.
std::string cpu_description();

}  // namespace kerf
