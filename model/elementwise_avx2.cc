// elementwise_body.h compiled for avx2.
#define KERF_ELEMENTWISE elementwise_avx2
#include "model/elementwise_body.h"
