// feedback_body.h compiled for avx512.
#define KERF_FEEDBACK feedback_avx512
#define KERF_FEEDBACK_ISA Isa::avx512
#include "solver/feedback_body.h"
