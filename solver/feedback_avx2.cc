// feedback_body.h compiled for avx2.
#define KERF_FEEDBACK feedback_avx2
#define KERF_FEEDBACK_ISA Isa::avx2
#include "solver/feedback_body.h"
