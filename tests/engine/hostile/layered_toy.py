"""A toy in layers, with dropout and a buffer that counts forwards, and the losses it should have by plain autograd."""

import torch
import toy
from torch import nn

from kriptik.engine import stage
from kriptik.engine.interfaces import Bundle
from kriptik.engine.schedule import learning_rate


class First(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.inner, self.dropout = nn.Linear(4, 12), nn.Dropout(share)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, numbers):
        if self.training:
            self.seen += 1
        return self.dropout(torch.tanh(self.inner(numbers)))


class Second(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.inner, self.dropout, self.last = nn.Linear(12, 8), nn.Dropout(share), nn.Linear(8, 1)

    def forward(self, hidden, numbers):
        return self.last(self.dropout(torch.tanh(self.inner(hidden)))).squeeze(-1) + numbers.sum(-1)


class Layered(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.lower, self.upper = First(share), Second(share)

    def forward(self, numbers):
        return self.upper(self.lower(numbers), numbers)


class LayeredToy(toy.Toy):
    provides = frozenset({"layers"})
    share = 0.2

    def load(self):
        torch.manual_seed(7)
        return Bundle(Layered(self.share))

    def layers(self, bundle, stages):
        assert stages == 2
        return [bundle.trainee.lower, bundle.trainee.upper]


class DryLayers(LayeredToy):
    share = 0.0


class TiedLayers(DryLayers):
    def load(self):
        bundle = super().load()
        bundle.trainee.upper.inner.bias = bundle.trainee.lower.inner.bias
        return bundle


def no_held_out(job):
    return job.model_copy(update={"data": job.data.model_copy(update={"eval_path": None, "eval_rows": 0})})


def by_hand(job, about):
    """(loss, gradient norm) of each update: one forward of all its rows, plain autograd and AdamW, no strategy at work."""
    run = stage.load(job, about)
    session, place = stage.open_stage(run, 0, None)
    net, settings, found = run.bundle.trainee, job.stages[0].settings, []
    matrices, vectors = ([one for one in net.parameters() if (one.dim() > 1) == flag] for flag in (True, False))
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    for step in range(session.total):
        session.epoch, group = place.cursor.next()
        whole = session.collate([one for bins in group for one in bins])
        error = (net(**whole.inputs) - whole.extra["y"]) ** 2 * whole.extra["w"]
        loss = error.sum() / whole.weight
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), settings.max_grad_norm)
        for one in optimizer.param_groups:
            one["lr"] = learning_rate(settings, step, session.total)
        optimizer.step()
        found.append((loss.item(), norm.item()))
    return found
