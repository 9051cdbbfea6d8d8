"""Embeddings: the library's own losses and measures as oracle, prompts, hard negatives, Matryoshka, what is refused."""

import json

import pytest
import tiny
import tiny_encoder
import torch
from sentence_transformers import SentenceTransformer, losses
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from kriptik.engine.interfaces import OptimizerSpec, ParamGroup, Session
from kriptik.engine.modalities.embedding import Embedding
from kriptik.engine.objectives.contrastive import Contrastive
from kriptik.engine.retrieval import measures
from kriptik.engine.strategies.single import SingleRuntime
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import StageSettings


def job_in(folder, rows, *, base=None, adaptation="full", held=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if base is None:
        tiny_encoder.tiny_encoder(folder / "base")
    usual = {"micro_batch": 4, "accumulation": 2, "packing": False, "learning_rate": 5e-3, "epochs": 2}
    chosen = StageSettings(**{**usual, **settings})
    return tiny.tiny_job(
        folder, rows=rows, eval_rows=held, adaptation=adaptation, objective="contrastive", settings=chosen, modality="embedding",
        capability="embeddings",
    )


def batch(job, rows):
    modality = Embedding(job)
    bundle = modality.load()
    bundle.trainee.eval()
    settings = job.stages[0].settings
    encoded = [modality.encode(bundle, row, number, "pair", settings) for number, row in enumerate(rows)]
    return modality, bundle, encoded, modality.collate(bundle, [[one] for one in encoded], 0, 0)


def features(library, rows, negatives):
    columns = [[row["query"] for row in rows], [row["positive"] for row in rows]]
    if negatives:
        columns.append([row["negatives"][0] for row in rows])
    return [library.preprocess(texts) for texts in columns]


@pytest.mark.parametrize("negatives", [0, 1])
@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"dims": [8, 16, 32]}], ids=["plain", "symmetric", "matryoshka"])
def test_the_loss_is_the_librarys(tmp_path, negatives, options):
    rows = tiny_encoder.pair_rows(6, 3, negatives)
    job = job_in(tmp_path, rows, objective=options)
    modality, bundle, _, micro = batch(job, rows)
    mine, _ = Contrastive(job.stages[0].settings).loss(modality.forward(bundle.trainee, micro), micro)
    library = SentenceTransformer(job.base_model.path, device="cpu").eval()
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"} if "symmetric" in options else {}
    theirs = losses.MultipleNegativesRankingLoss(library, **both)
    if "dims" in options:
        theirs = losses.MatryoshkaLoss(library, theirs, options["dims"])
    value = theirs(features(library, rows, negatives), torch.arange(6))
    assert float(mine.detach()) / 6 == pytest.approx(float(value.detach()), abs=1e-5)


def test_cached_gradients_are_those_of_one_graph_by_the_library(tmp_path):
    """Three micro-batches of two pairs give the gradient that the library has on all six at once."""
    rows = tiny_encoder.pair_rows(6, 3, 1)
    job = job_in(tmp_path, rows, micro_batch=2)
    modality, bundle, encoded, _ = batch(job, rows)
    bundle.trainee.requires_grad_(True)
    objective = Contrastive(job.stages[0].settings)
    session = Session(job, 0, job.stages[0].settings, bundle, modality, _NoPenalty(), objective, rows=None)  # type: ignore[arg-type]
    names = [name for name, _ in bundle.trainee.named_parameters()]
    session.runtime = SingleRuntime(bundle, modality, OptimizerSpec([ParamGroup(names)]))
    micros = [modality.collate(bundle, [[one] for one in encoded[at : at + 2]], 0, 0) for at in (0, 2, 4)]
    from kriptik.engine.interfaces import Update

    objective.run(Update(micros), session, 6.0)
    library = SentenceTransformer(job.base_model.path, device="cpu").eval()
    losses.MultipleNegativesRankingLoss(library)(features(library, rows, 1), torch.arange(6)).backward()
    theirs = dict(library[0].model.named_parameters())
    for name, one in bundle.trainee.named_parameters():
        if one.grad is not None:
            assert torch.allclose(one.grad, theirs[name].grad, atol=1e-5), name


class _NoPenalty:
    def penalty(self, bundle):
        return None


def test_a_text_is_never_its_own_negative(tmp_path):
    """Two questions with one answer: the second copy of the answer is no candidate of the first."""
    rows = [{"query": one, "positive": "dice"} for one in ("random", "hash")]
    job = job_in(tmp_path, rows)
    modality, bundle, _, micro = batch(job, rows)
    loss, metrics = Contrastive(job.stages[0].settings).loss(modality.forward(bundle.trainee, micro), micro)
    assert float(loss) == pytest.approx(0, abs=1e-6) and float(metrics["accuracy"]) == 2


def test_measures_are_the_librarys(tmp_path):
    rows = tiny_encoder.pair_rows(12, 5)
    library = SentenceTransformer(str(tiny_encoder.tiny_encoder(tmp_path / "base")), device="cpu").eval()
    ids = [str(number) for number in range(len(rows))]
    corpus = dict(zip(ids, [row["positive"] for row in rows], strict=True))
    asked = dict(zip(ids, [row["query"] for row in rows], strict=True))
    evaluator = InformationRetrievalEvaluator(asked, corpus, {one: {one} for one in ids}, ndcg_at_k=[10], accuracy_at_k=[1, 5])
    theirs = evaluator(library)
    one, other = (torch.tensor(library.encode(list(texts.values()))) for texts in (asked, corpus))
    mine = measures(one @ other.t())
    assert mine["ndcg_at_10"] == pytest.approx(theirs["cosine_ndcg@10"], abs=1e-6)
    assert mine["recall_at_1"] == pytest.approx(theirs["cosine_accuracy@1"], abs=1e-6)
    assert mine["recall_at_5"] == pytest.approx(theirs["cosine_accuracy@5"], abs=1e-6)


def test_one_vector_for_all_finds_nothing():
    assert measures(torch.zeros(20, 20))["recall_at_5"] == 0


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_prompts_pooling_and_padding_are_the_models_own(tmp_path, kind):
    """A causal model with its last token, padded on the left, gets its prompts before queries."""
    pooling = "mean" if kind == "bert" else "lasttoken"
    base = tiny_encoder.tiny_encoder(tmp_path / "base", kind=kind, prompts=tiny_encoder.PROMPTS, pooling=pooling)
    rows = tiny_encoder.pair_rows(4, 1)
    job = job_in(tmp_path, rows, base=base)
    modality, bundle, _, micro = batch(job, rows)
    with torch.no_grad():
        anchors, positives, _ = modality.forward(bundle.trainee, micro)
    library = SentenceTransformer(str(base), device="cpu").eval()
    theirs = torch.tensor(library.encode([row["query"] for row in rows], prompt_name="query"))
    assert torch.allclose(torch.nn.functional.normalize(anchors, dim=-1), theirs, atol=1e-5)
    plain = torch.tensor(library.encode([row["positive"] for row in rows]))
    assert torch.allclose(torch.nn.functional.normalize(positives, dim=-1), plain, atol=1e-5)


def test_a_run_finds_more_and_leaves_a_folder_that_the_library_reads(tmp_path):
    said = []
    job = job_in(
        tmp_path, tiny_encoder.pair_rows(48, 1, 1), adaptation="lora", held=tiny_encoder.pair_rows(24, 2), epochs=8,
        objective={"dims": [8, 32]},
    )
    from toy import running

    train(job, said.append, running)
    result = said[-2] if said[-1].type != "result" else said[-1]
    before, after = result.eval_before.custom, result.eval_after.custom
    assert after["recall_at_1"] > before["recall_at_1"] + 0.1
    assert {"ndcg_at_10_dim_8", "recall_at_10", "mrr"} <= after.keys()
    folder = tmp_path / "run" / "result" / "model"
    assert json.loads((folder / "modules.json").read_text())
    assert SentenceTransformer(str(folder), device="cpu").encode(["json hash"]).shape == (1, 32)


def test_rows_without_a_positive_are_refused(tmp_path):
    job = job_in(tmp_path, [{"query": "a", "positive": "b"}])
    modality = Embedding(job)
    with pytest.raises(DataError, match="Row 3"):
        modality.encode(modality.load(), {"query": "a", "positive": " "}, 2, "pair", job.stages[0].settings)


def test_four_bits_are_refused(tmp_path):
    job = job_in(tmp_path, [{"query": "a", "positive": "b"}]).model_copy(update={"precision": "nf4"})
    with pytest.raises(WorkerError, match="nf4"):
        Embedding(job).load()
