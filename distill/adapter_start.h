// Where the training of adapters begins: at what a low-rank product gives back of each matrix's error (EoRA, arXiv
// 2410.21271), instead of at zero.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/scratch.h"
#include "distill/student.h"
#include "model/text/windows.h"

namespace kerf {

/// Each adapted matrix of the student (adapted_matrix.h) gets the adapter that is nearest, in the outputs, to what it
/// lacks of wanted(name), on the inputs that the student has there with the adapters of the blocks before: block after
/// block over the windows. Where `wanted` gives nothing, because the original has no such matrix, A is random and B
/// zero, as LoRA begins. Memory: a hidden state per token from `scratch`, the second moments of one block's inputs, and
/// for each thread an error and a product. Results do not depend on the number of threads.
void start_adapters(Student&, const std::function<std::vector<float>(const std::string& name)>& wanted, const Windows&,
                    Scratch&, const std::function<void()>& after_block = {});

}  // namespace kerf
