"""A tiny model with an adaptation that took a few plain gradient steps, so that it is not the identity."""

import torch
from tiny import chat_rows, tiny_job

from kriptik.engine import pieces
from kriptik.engine.modalities.text import Text
from kriptik.engine.objectives.causal_lm import CausalLm
from kriptik.engine.rng import reseed
from kriptik.spec.job import LoraSettings


def adapted(root, kind, seed=3, steps=3, adaptation=None, job=None, rate=0.5, **lora):
    """(bundle, adaptation). `adaptation`: its own settings; `lora`: fields of `LoraSettings`, rank 4 and alpha 8 if not said."""
    job = job or tiny_job(root, adaptation=kind)
    change = {"lora": LoraSettings(**{"rank": 4, "alpha": 8, **lora}), "adaptation": adaptation or {}}
    settings = job.stages[0].settings.model_copy(update=change)
    modality = Text(job)
    bundle = modality.load()
    piece = pieces.adaptation(kind)(settings)
    reseed(seed)
    piece.apply(bundle)
    for _ in range(steps):
        loss_of(bundle, job, settings).backward()
        with torch.no_grad():
            for parameter in bundle.trainee.parameters():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
                    parameter.grad = None
    return bundle, piece


def loss_of(bundle, job, settings):
    """Mean loss per learnt token on four packed rows."""
    modality = Text(job)
    rows = [modality.encode(bundle, row, n, "completion", settings) for n, row in enumerate(chat_rows(4))]
    micro = modality.collate(bundle, [rows], 0, 0)
    total, _ = CausalLm(settings).loss(modality.forward(bundle.trainee, micro), micro)
    return total / micro.weight


def logits(model, seed=0):
    """Of twelve random tokens, in eval mode."""
    ids = torch.randint(3, 500, (1, 12), generator=torch.Generator().manual_seed(seed))
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids).logits
