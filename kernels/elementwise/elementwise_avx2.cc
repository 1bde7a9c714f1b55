// elementwise_body.h compiled for avx2.
#define KERF_ELEMENTWISE elementwise_avx2
#include "kernels/elementwise/elementwise_body.h"
