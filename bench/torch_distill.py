"""The peer of `kerf compress --distill full`: PyTorch trains half of a model's block weights, the larger ones, against the
whole model, on batches of 8 windows of 256 tokens, two threads.

    python torch_distill.py MODEL float32|bfloat16

Loss KL(teacher || student) of all logits, Adam with clipping; with bfloat16 under autocast. Prints tokens per second of the
median step, with the teacher's forward pass and without it, and the peak resident memory.
"""

import contextlib
import resource
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

STEPS, WARM_UP, WINDOWS, LENGTH = 8, 2, 8, 256


def main():
    path, dtype = sys.argv[1:3]
    torch.set_num_threads(2)
    teacher = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    student = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).train()
    with torch.no_grad():
        for name, p in student.named_parameters():
            if p.ndim == 2 and "layers" in name:
                p.mul_(p.abs() >= p.abs().flatten().median())
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-4, betas=(0.9, 0.99))
    faster = lambda: torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    log_p = lambda logits: logits[:, :-1].float().log_softmax(-1).flatten(0, 1)
    random = torch.Generator().manual_seed(0)
    of_teacher, of_student = [], []
    for _ in range(STEPS):
        ids = torch.randint(0, teacher.config.vocab_size, (WINDOWS, LENGTH), generator=random)
        begin = time.time()
        with torch.no_grad(), faster():
            wanted = teacher(ids).logits
        between = time.time()
        with faster():
            logits = student(ids).logits
        torch.nn.functional.kl_div(log_p(logits), log_p(wanted), log_target=True, reduction="batchmean").backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        of_teacher.append(between - begin)
        of_student.append(time.time() - between)
    without = statistics.median(of_student[WARM_UP:])
    both = without + statistics.median(of_teacher[WARM_UP:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = WINDOWS * LENGTH
    print(f"{tokens / both:.0f} tokens/s, {tokens / without:.0f} without the teacher's pass, peak {peak:.0f} MB resident")


main()
