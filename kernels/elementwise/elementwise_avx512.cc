// elementwise_body.h compiled for avx512.
#define KERF_ELEMENTWISE elementwise_avx512
#include "kernels/elementwise/elementwise_body.h"
