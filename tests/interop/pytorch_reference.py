"""Log-probabilities from transformers on the CPU."""
import numpy as np
import torch
from transformers import AutoModelForCausalLM


def log_probabilities(path, windows, adapter=None, **options):
    """With the adapter in a folder of PEFT's, if one is named: (log-probabilities [windows, length, vocabulary] in float32, the model, the largest |logit|). Each window is a
    batch of its own; the log-softmax is taken in float64 of the logits that the model gives."""
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(path, **options).eval()
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval()
    tables, largest = [], 0.0
    with torch.inference_mode():
        for ids in windows:
            logits = model(torch.tensor([ids])).logits[0].double()
            largest = max(largest, logits.abs().max().item())
            tables.append(torch.log_softmax(logits, dim=-1).float().numpy())
    return np.stack(tables), model, largest
