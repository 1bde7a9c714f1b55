// feedback_body.h compiled for ref.
#define KERF_FEEDBACK feedback_ref
#define KERF_FEEDBACK_ISA Isa::ref
#include "solver/feedback_body.h"
