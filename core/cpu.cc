// Run-time detection through the compiler's own CPU model, which also asks whether the system saves the registers.
#include "core/cpu.h"

#include <cstdlib>
#include <fstream>

#include "core/error.h"

namespace kerf {

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::ref:
      return "ref";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "?";
}

Isa cpu_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return Isa::avx512;
  // Every CPU with AVX2 and FMA also has F16C and BMI2.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::ref;
}

namespace {
Isa chosen_isa() {
  const char* forced = std::getenv("KERF_ISA");
  const Isa best = cpu_isa();
  if (!forced || !*forced) return best;
  for (Isa isa : {Isa::ref, Isa::avx2, Isa::avx512}) {
    if (name_of(isa) != forced) continue;
    if (isa > best)
      fail(ErrorKind::unsupported, "KERF_ISA={} asks for instructions this CPU lacks; it offers up to {}", forced,
           name_of(best));
    return isa;
  }
  fail(ErrorKind::usage, "KERF_ISA={} is not known; choose ref, avx2 or avx512, or unset it", forced);
}
}  // namespace

Isa isa() {
  static const Isa chosen = chosen_isa();
  return chosen;
}

std::string cpu_description() {
  std::string model = "unknown CPU";
  std::string features;
#if defined(__x86_64__)
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) model = line.substr(line.find(':') + 2);
    if (!line.starts_with("flags")) continue;
    for (const char* f : {"avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16",
                          "amx_int8", "avx_vnni"})
      if ((line + " ").find(std::string(" ") + f + " ") != std::string::npos) features += std::string(" ") + f;
    break;
  }
#endif
  return model + ":" + (features.empty() ? " no vector features known to kerf" : features);
}

}  // namespace kerf
