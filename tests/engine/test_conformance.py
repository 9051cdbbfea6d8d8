"""Conformance: every method of the catalogue whose pieces exist, on every capability of text, planned, run, frozen, killed,
resumed, saved and reloaded on a tiny model. With KRIPTIK_WRITE_PROOF=1 the findings go into the catalogue's `proof.json`.
"""

import importlib.metadata
import os
import random
import signal
from pathlib import Path

import lives
import pytest
import tiny
import torch
from test_exact import freeze_at
from transformers import AutoModelForCausalLM

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.points import fill_points, stage_defaults
from kriptik.catalogue.proof import proof_entry, write_proofs
from kriptik.catalogue.sources import names_of, piece_file
from kriptik.engine import pieces
from kriptik.engine.adapters import attach
from kriptik.engine.testing import restored
from kriptik.engine.text import documents, quantised
from kriptik.spec.job import Stage, StageSettings

pytestmark = pytest.mark.conformance
PRECISIONS = {None, "fp32", "nf4"}
ROWS = {"supervised"}
"""Kinds of rows that this suite makes; a method that needs others stays planned until its rows are made here."""
RATES = {"full": 2e-3, "galore": 2e-3, "vera": 5e-2, "adalora": 2e-2}
"""Learning rate on a model of 0.3 million weights; adapters take 5e-3."""
SIZES = {
    "vera": {"lora": {"rank": 64}},
    "galore": {"adaptation": {"rank": 8, "update_every": 3, "scale": 1.0}},
    "longlora": {"adaptation": {"group": 24}},
}
"""Other sizes than rank 4 where a method has its own, small enough that its parts come into play on layers of 64 to 192."""
POSITIONS = {"longlora": 48}
"""Context of the base where that of `tiny_model` would leave nothing to stretch."""


def cases():
    """(method, strategy, points, capabilities) of text: one case per method whose points are the same everywhere."""
    catalogue, found = load_catalogue(), {}
    for method in catalogue.methods.values():
        for capability in catalogue.capabilities.values():
            if method.alias_of or capability.modality != "text" or capability.id not in method.capabilities:
                continue
            if set(method.data_types) - ROWS:
                continue
            points = fill_points(method, capability, "single")
            if all(fits(point) for point in points):
                key = (method.id, points[0].strategy, str(points))
                found.setdefault(key, (method, points, []))[2].append(capability)
    return [(*key[:2], *value) for key, value in sorted(found.items())]


def fits(point):
    """All pieces exist and go together, on one process and in a precision that loads here."""
    named = names_of([point], "text")
    if point.strategy != "single" or point.base_precision not in PRECISIONS or any(piece_file(*one) is None for one in named):
        return False
    about = pieces.modality("text")
    return not pieces.missing(
        about, pieces.adaptation(point.adaptation), pieces.objective(point.objective), pieces.strategy(point.strategy)
    )


def job_of(folder, method, points, capability):
    """The method's own recipe, with the sizes of a tiny model."""
    stages = []
    for index, (point, recipe) in enumerate(zip(points, stage_defaults(method, capability), strict=True)):
        settings = StageSettings.model_validate(recipe)
        small = {
            "epochs": 2,
            "max_steps": None,
            "micro_batch": 1,
            "accumulation": 2,
            "learning_rate": RATES.get(point.adaptation, 5e-3),
            "max_seq_len": 96,
            "checkpoint_every": 3,
            "lora": settings.lora.model_copy(update={"rank": 4, "alpha": 8, "dropout": 0.1}),
        }
        own = SIZES.get(point.adaptation, {})
        small["lora"] = small["lora"].model_copy(update=own.get("lora", {}))
        small["adaptation"] = {**settings.adaptation, **own.get("adaptation", {})}
        stages.append(Stage(index=index, name=method.id, method=method.id, point=point, settings=settings.model_copy(update=small)))
    folder.mkdir(parents=True, exist_ok=True)
    tiny.tiny_model(folder / "base", positions=POSITIONS.get(points[0].adaptation, 512))
    rows, held = tiny.chat_rows(24), tiny.chat_rows(8, 9)
    precision = points[0].base_precision or "fp32"
    return tiny.tiny_job(folder, rows=rows, eval_rows=held, stages=stages, capability=capability.id, precision=precision)


def logits(model):
    ids = torch.tensor([[5, 17, 40, 101, 7, 63, 211, 30]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def reloaded(job):
    """Largest relative difference of logits: adapter on its base (or None), whole model, both against the trained one."""
    run, _ = restored(job.model_copy(update={"resume_from": lives.newest(job.run_dir)}))
    trained = logits(run.bundle.trainee)
    result, scale = Path(job.run_dir) / "result", float(trained.abs().max())

    def load(path, options=()):
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **dict(options))

    def base():
        if job.precision != "nf4":
            return load(job.base_model.path)
        model = load(job.base_model.path, quantised.options(torch.float32, "cpu"))
        quantised.settle(model)
        return model

    whole = float((logits(load(result / "model")) - trained).abs().max()) / scale
    adapter = None
    if (result / "adapter").exists():
        tuned = attach(base(), result / "adapter")
        adapter = float((logits(tuned) - trained).abs().max()) / scale
    return adapter, whole


def checks_of(root, method, points, capability):
    """Runs everything; name → whether it held."""
    straight = job_of(root / "straight", method, points, capability)
    code, said = lives.live(straight)
    assert code == 0, (Path(straight.run_dir) / "error-g1.txt").read_text()
    losses, tensors = lives.losses(said), lives.final_tensors(straight.run_dir)
    result = said[-1]
    adapter, whole = reloaded(straight)

    frozen = job_of(root / "frozen", method, points, capability)
    at = random.Random(method.id).randint(1, len(losses) - 1)
    early = lives.live(frozen, control=freeze_at(at))
    start = lives.newest(frozen.run_dir)
    late = lives.live(frozen.model_copy(update={"generation": 2, "resume_from": start}))

    killed = job_of(root / "killed", method, points, capability)
    merged = {}
    for generation, life in enumerate((("mid_step", 3), ("mid_shard", 1), None), 1):
        start = lives.newest(killed.run_dir)
        turn = killed.model_copy(update={"generation": generation, "resume_from": start})
        code, said = lives.live(turn, point=life[0], count=life[1]) if life else lives.live(turn)
        assert code == (-signal.SIGKILL if life else 0)
        merged |= lives.losses(said)
    return {
        "trains": result["evalAfter"]["loss"] < 0.95 * result["evalBefore"]["loss"],
        "resume_exact": lives.losses(early[1]) | lives.losses(late[1]) == losses and lives.final_tensors(frozen.run_dir) == tensors,
        "kill_exact": merged == losses and lives.final_tensors(killed.run_dir) == tensors,
        "reload_same": (adapter if adapter is not None else whole) < 1e-5,
        "merge_same": whole < 1e-4,
    }


@pytest.fixture(scope="module", autouse=True)
def preloaded(tmp_path_factory):
    """One run in this process, so that forked lives start in a moment."""
    assert documents.NAME
    lives.preload(None, job=tiny.tiny_job(tmp_path_factory.mktemp("preload")))


@pytest.mark.parametrize(
    ("name", "strategy", "method", "points", "capabilities"), [pytest.param(*one, id=one[0]) for one in cases()]
)
def test_method(tmp_path, name, strategy, method, points, capabilities):
    checks = checks_of(tmp_path, method, points, capabilities[0])
    if os.environ.get("KRIPTIK_WRITE_PROOF") == "1":
        stack = {package: importlib.metadata.version(package) for package in ("torch", "transformers", "peft")}
        write_proofs(proof_entry(name, capability.id, strategy, checks, stack) for capability in capabilities)
    assert checks == dict.fromkeys(checks, True)


def test_the_methods_of_every_day_are_among_them():
    covered = {(name, capability.id) for name, _, _, _, capabilities in cases() for capability in capabilities}
    for name in ("full_finetune", "lora", "dora"):
        for capability in ("text_generation", "chat", "code_generation"):
            assert (name, capability) in covered
