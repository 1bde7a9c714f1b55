// elementwise_body.h compiled for ref.
#define KERF_ELEMENTWISE elementwise_ref
#include "model/elementwise_body.h"
