// elementwise_body.h compiled for ref.
#define KERF_ELEMENTWISE elementwise_ref
#include "kernels/elementwise/elementwise_body.h"
