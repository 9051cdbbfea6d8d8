"""Contrastive with cached gradients: the same as one graph over the whole update, dropout and all; on two ranks as on one."""

import pairs_toy
import proving
import pytest
import torch

from kriptik.engine import pieces, stage
from kriptik.engine.rng import reseed
from kriptik.engine.schedule import learning_rate


def no_held_out(job):
    return job.model_copy(update={"data": job.data.model_copy(update={"eval_path": None, "eval_rows": 0})})


def by_hand(job, about, symmetric=False):
    """Losses of a reference that keeps the graphs of all micro-batches of an update at once."""
    run = stage.load(job, about)
    session, place = stage.open_stage(run, 0, None)
    net, settings, losses = run.bundle.trainee, job.stages[0].settings, []
    decayed = [{"params": list(net.parameters()), "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(decayed, foreach=False)
    for step in range(session.total):
        _, group = place.cursor.next()
        reseed(job.seed, "update", 0, step, 0)
        outputs = []
        for bins in group:
            rows = [session.rows.encoded[row].fields for one in bins for row in one]
            outputs.append(net(torch.tensor([r["anchor"] for r in rows]), torch.tensor([r["positive"] for r in rows])))
        anchors, positives = (torch.cat(one) for one in zip(*outputs, strict=True))
        cosine = torch.cosine_similarity(anchors[:, None], positives[None], dim=-1) / 0.1
        loss = -cosine.log_softmax(1).diagonal().mean()
        if symmetric:
            loss = (loss - cosine.log_softmax(0).diagonal().mean()) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step, session.total)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.exactness
@pytest.mark.parametrize("symmetric", [False, True])
def test_losses_are_those_of_one_graph(tmp_path, symmetric):
    """50 rows in updates of 16: the last of each epoch is a small one."""

    def make(folder):
        return no_held_out(pairs_toy.job_in(folder, objective={"temperature": 0.1, "symmetric": symmetric}))

    said, job = proving.proved(make, tmp_path, at=5, about=pairs_toy.PairsToy)
    assert proving.metrics(said) == pytest.approx(by_hand(job, pairs_toy.PairsToy, symmetric), rel=1e-4)


def test_held_out_pairs_are_found(tmp_path):
    said = proving.lived(pairs_toy.job_in(tmp_path, epochs=10), pairs_toy.PairsToy)
    first, *_, last = [body for body in said if body["type"] == "eval"]
    assert last["loss"] < 0.8 * first["loss"]
    assert last["custom"]["mrr"] > first["custom"]["mrr"] + 0.1
    assert len(last["rowLosses"]) == 20


@pytest.mark.distributed
@pytest.mark.exactness
def test_two_ranks_share_their_negatives(tmp_path):
    """The second rank's anchors are negatives of the first's: 2 × 2 micro-batches are the same as 1 × 4."""
    alone = proving.lived(no_held_out(pairs_toy.job_in(tmp_path / "alone")), pairs_toy.DryPairs)

    def make(folder):
        return no_held_out(pairs_toy.job_in(folder, strategy="ddp", accumulation=2))

    together, _ = proving.proved(make, tmp_path, at=5, about=pairs_toy.DryPairs, world=2)
    assert proving.metrics(together) == pytest.approx(proving.metrics(alone), rel=1e-4)


def test_it_cannot_be_a_pipeline():
    lacking = pieces.missing(
        pairs_toy.PairsToy, pieces.adaptation("full"), pieces.objective("contrastive"), pieces.strategy("pipeline")
    )
    assert "own_backward" in lacking
