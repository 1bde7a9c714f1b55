#!/usr/bin/env python3
"""TRL trains what kerf has distilled: a step of its SFTTrainer, and one of an adapter of PEFT's, over the checkpoint.

  trl_step.py --kerf KERF --model MODEL --text FILE --calib TEXT [--windows N]

(a) transformers loads the pruned and trained checkpoint as a plain model, whose loss on the windows is kerf's, within 0.1 %;
(b) after a step every weight that a gradient reaches has moved and is a number, and the loss on what was trained is lower;
(c) so it is with an adapter alone, and then the checkpoint's own weights are as they were.
"""
import math
import sys

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from interop import Checks, Setting, workplace


def loss_of(model, ids):
    with torch.inference_mode():
        return float(torch.stack([model(row[None], labels=row[None]).loss for row in ids]).mean())


def step(folder, ids, work, **options):
    """The model after one step on the windows, its loss before, and its weights before by name."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before, loss = {n: p.detach().clone() for n, p in model.named_parameters()}, loss_of(model.eval(), ids)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(work), max_steps=1, per_device_train_batch_size=len(ids), learning_rate=1e-3,
                       warmup_steps=0, lr_scheduler_type="constant", use_cpu=True, bf16=False, report_to=[],
                       save_strategy="no", disable_tqdm=True, max_length=ids.shape[1]),
        train_dataset=Dataset.from_dict({"input_ids": ids.tolist()}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        **options,
    )
    trainer.train()
    return trainer.model.eval(), loss, before


def main():
    setting = Setting("model", "text")
    torch.set_num_threads(2)
    with workplace() as work:
        out = work / "distilled"
        setting.kerf("compress", setting.model, "--target", "checkpoint", "--prune", "sparsity=0.5", "--calib",
                     setting.options.calib, "--calib-windows", 16, "--distill", "full", "--steps", 4, "--distill-batch", 2,
                     "-o", out)
        said = math.log(setting.kerf.json("eval", out, *setting.windows.options())["ppl"])
        ids = torch.tensor(setting.ids())

        checks = Checks()
        model, loss, before = step(out, ids, work / "sft")
        checks.close("loss before", said, loss, 0.001)
        moved = [n for n, p in model.named_parameters() if n in before and not torch.equal(p, before[n])]
        checks.that(len(moved) == len(before), f"{len(moved)} of {len(before)} tensors have moved")
        checks.that(all(bool(p.isfinite().all()) for p in model.parameters()), "all are numbers")
        after = loss_of(model, ids)
        checks.that(after < loss, f"loss {loss:.4f}, after the step {after:.4f}")

        model, loss, before = step(out, ids, work / "lora", peft_config=LoraConfig(r=4, target_modules="all-linear"))
        after = loss_of(model, ids)
        checks.that(after < loss, f"with an adapter: loss {loss:.4f}, after the step {after:.4f}")
        own = {n.removeprefix("base_model.model.").replace(".base_layer", ""): p for n, p in model.named_parameters()}
        stays = [n for n, p in before.items() if n in own and torch.equal(own[n], p)]
        checks.that(len(stays) == len(before), f"{len(stays)} of {len(before)} tensors of the checkpoint are as they were")
        checks.finish()


sys.path.pop(0)  # PEFT looks for a package llama_cpp, which is the name of a test here
main()
