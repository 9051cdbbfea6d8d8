"""Conformance: every method of the catalogue whose pieces exist, on every capability of each modality and in each way to make what
it makes, planned, run, frozen, killed, resumed, saved and reloaded on a tiny model. With KRIPTIK_WRITE_PROOF=1 the findings go into
the catalogue's `proof.json`.
"""

import importlib.metadata
import os
import random
import signal
from pathlib import Path

import judge_server
import lives
import pytest
import tiny
import toy
from near import off
from subjects import SUBJECTS, result_of
from test_exact import freeze_at

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.points import fill_points, stage_defaults
from kriptik.catalogue.proof import proof_entry, write_proofs
from kriptik.catalogue.sources import names_of, piece_file
from kriptik.engine import pieces
from kriptik.engine.testing import restored
from kriptik.engine.text import documents
from kriptik.pipeline.plan.cost import fits_fp16
from kriptik.spec.job import Stage, StageSettings

pytestmark = pytest.mark.conformance
RATES = {"full": 2e-3, "galore": 2e-3, "vera": 5e-2, "adalora": 2e-2}
"""Learning rate on a model of 0.3 million weights; adapters take 5e-3. See `sizes_of`."""
NOISE_RATE = 0.005
"""That of Diffusion DPO: its β makes large margins out of small steps."""
SIZES = {
    "vera": {"lora": {"rank": 64}},
    "galore": {"adaptation": {"rank": 8, "update_every": 3, "scale": 1.0}},
    "longlora": {"adaptation": {"group": 24}},
    "lora_moe": {"adaptation": {"experts": 4}},
}
"""Other sizes than rank 4 where a method has its own, small enough that its parts come into play on layers of 64 to 192."""
EVERYWHERE = ("lora", "full")
"""Adaptations that `make test` tries in every modality; the others in the first that has them."""
ENOUGH = {"textual_inversion": 0.99}
"""Share of the loss before that must not be reached after: a word's few numbers move a whole model little."""
PACKAGES = {
    "text": ("torch", "transformers", "peft"),
    "embedding": ("torch", "transformers", "peft", "sentence-transformers"),
    "image": ("torch", "transformers", "peft", "diffusers"),
    "music": ("torch", "transformers", "peft", "soundfile"),
    "sound": ("torch", "transformers", "peft", "diffusers", "soundfile"),
    "video": ("torch", "transformers", "peft", "diffusers", "av"),
    "voice": ("torch", "transformers", "peft", "soundfile"),
    "vision_language": ("torch", "transformers", "peft", "pillow"),
}
"""What a proof names the versions of."""
SAME = {"fp32": (1e-5, 1e-4), "bf16": (3e-2, 1e-1), "fp16": (4e-3, 2e-2)}
"""Largest relative difference after a reload, and to the merged model. bf16 rounds by up to 1 in 256, fp16 by 1 in 2,048."""
EVERY = "text image video music sound vision_language"
WITHOUT = {
    "the same points under another name, whose proofs count: full_finetune_deepspeed and full_finetune_fsdp": {
        "deepspeed_zero3": EVERY,
        "fsdp": EVERY,
    },
    "nothing moves weights and optimizer to main memory or a disk yet": {"deepspeed_infinity": "text"},
    "the strategies megatron and nd are not built": {"megatron_lm": "text", "3d_parallelism": "text"},
    "MusicGen denoises nothing: models that do are trained in the way sound": {"moe_diffusion": "music"},
}
"""Why not → method → modalities: what the catalogue claims, by its own name or as a way, and nothing here runs. Such a pair is
not proved, so that the catalogue calls it planned."""
JUDGE = {}
"""The address of the judge while the tests run."""
ROLLOUT = {"max_new_tokens": 8}
SMALL = {
    "denoise": {"resolution": 16, "sample_steps": 2, "prior_images": 4, "class_prompt": "a red disc",
                "instance_prompt": "a <subject> disc"},
    "diffusion_dpo": {"resolution": 16, "sample_steps": 2},
    "codec_lm": {"heard_clips": 2, "heard_seconds": 0.3},
    "grpo": {"verifier": "share", "pattern": "[aeiou]", "group_size": 8, **ROLLOUT},
    "ppo": ROLLOUT,
    "speech": {"heard_clips": 2},
}
"""What an objective is told beside its recipe, so that a tiny model can do it."""


def claims():
    """(method, capability, way) as the catalogue has them; way None: the capability's own."""
    catalogue = load_catalogue()
    for method in catalogue.methods.values():
        for capability in (one for one in catalogue.capabilities.values() if one.id in method.capabilities):
            yield from ((method, capability, way) for way in ways_of(capability) if not way or method.id not in way.unclaimed)


def cases():
    """(method, strategy, modality, points, capabilities): one case per method with the same points everywhere in a modality.

    A claim that has no case is one of `WITHOUT`.
    """
    found = {}
    for method, capability, way in claims():
        subject = SUBJECTS.get(way.id if way else capability.modality)
        if method.alias_of or subject is None or set(method.data_types) - subject.rows.keys():
            continue
        points = fill_points(method, capability, "single", way=way)
        if not method.stages[0].options.get("offload") and all(fits(point, subject) for point in points):
            key = (method.id, points[0].strategy, subject.modality, str(points))
            found.setdefault(key, (method, points, []))[2].append(capability)
    return [(*key[:3], *value) for key, value in sorted(found.items())]


def ways_of(capability):
    """The capability's own way (None), and the others."""
    return [None, *(way for way in load_catalogue().ways.values() if way.capability == capability.id)]


def fits(point, subject):
    """All pieces exist and go together, in a precision that loads here."""
    named = names_of([point], subject.modality)
    if point.base_precision not in subject.precisions or any(piece_file(*one) is None for one in named):
        return False
    about = pieces.modality(subject.modality)
    return not pieces.missing(
        about, pieces.adaptation(point.adaptation), pieces.objective(point.objective), pieces.strategy(point.strategy)
    )


def job_of(folder, method, points, capability, precision="fp32", modality=None):
    """The method's own recipe, with the sizes of a tiny model; `modality`: the capability's own, unless another is given."""
    subject, stages = SUBJECTS[modality or capability.modality], []
    recipes = stage_defaults(method, capability, load_catalogue().ways.get(subject.modality))
    for index, (point, recipe) in enumerate(zip(points, recipes, strict=True)):
        settings = StageSettings.model_validate(recipe)
        small = {
            **sizes_of(points, index, subject),
            "max_steps": None,
            "max_seq_len": 96,
            "checkpoint_every": 3,
            "lora": settings.lora.model_copy(update={"rank": 4, "alpha": 8, "dropout": 0.1}),
            "objective": {**settings.objective, **told(folder, point, settings.objective, points, subject), **subject.told},
        }
        own = SIZES.get(point.adaptation, {})
        small["lora"] = small["lora"].model_copy(update=own.get("lora", {}))
        small["adaptation"] = {**settings.adaptation, **own.get("adaptation", {})}
        stages.append(Stage(index=index, name=method.id, method=method.id, point=point, settings=settings.model_copy(update=small)))
    folder.mkdir(parents=True, exist_ok=True)
    subject.base(folder / "base", method.id if method.id in getattr(subject, "families", ()) else points[0].adaptation)
    rows = next(made for kind, made in reversed(subject.rows.items()) if kind in method.data_types)
    train, held = getattr(subject, "pairs", subject.counts) if method.data_types[-1] == "preferences" else subject.counts
    return tiny.tiny_job(
        folder,
        rows=rows(folder, train),
        eval_rows=rows(folder, held, 9),
        stages=stages,
        capability=capability.id,
        modality=subject.modality,
        precision=points[0].base_precision or precision,
        **subject.changes,
    )


def sizes_of(points, index, subject):
    """Rate, rows per update and epochs. PPO needs more answers; what comes before it must leave it something to learn."""
    rate = {**RATES, **subject.rates}.get(points[index].adaptation, 5e-3)
    rest = dict(subject.sizes)
    if points[index].objective == "ppo":
        rate, rest = rate * (1 if points[index].adaptation == "full" else 4), {**rest, "accumulation": 8, "epochs": 6}
    elif points[index].objective == "diffusion_dpo":
        rate, rest = NOISE_RATE, {**rest, "epochs": 8}
    elif gentle(points, index):
        rate = rate / 20
    made = len(points) > 1 and any(one.objective == "reward" for one in points)
    return {"learning_rate": rate, **rest, **(getattr(subject, "scored", {}).get(points[index].objective, {}) if made else {})}


def gentle(points, index):
    """Whether a stage leaves the one behind it something to learn: supervised learning before PPO."""
    return points[index].objective in ("causal_lm", "codec_lm") and points[-1].objective == "ppo"


def told(folder, point, recipe, points, subject):
    """What an objective is told beside its recipe: sizes, a judge, a reward model where no stage makes one."""
    found = dict(SMALL.get(point.objective, {}))
    if recipe.get("reward") == "judge" or "rows" in recipe:
        found |= {"judge": {"kind": "endpoint", "url": JUDGE["url"], "model": "rule"}, **ROLLOUT}
    if point.objective == "ppo" and all(one.objective != "reward" for one in points):
        found["reward_model"] = str(subject.reward(folder / "reward"))
    return found


def trained(points, said):
    """Whether every stage got better on held-out rows; a gentle one at least no worse. Of the last the result says what it was
    before and is after."""
    found = [better(points[-1], said[-1]["evalBefore"], said[-1]["evalAfter"])]
    for index, point in enumerate(points[:-1]):
        before, *_, after = [body for body in said if body["type"] == "eval" and body["stage"] == index]
        found.append(after["loss"] <= before["loss"] if gentle(points, index) else better(point, before, after))
    return all(found)


def better(point, before, after):
    """Whether a stage got better, on held-out rows, in what its objective is about."""
    objective = point.objective
    if objective in ("grpo", "ppo"):
        return after["custom"]["reward"] > before["custom"]["reward"] + (0.02 if objective == "grpo" else 0.2)
    if objective in ("dpo", "diffusion_dpo", "orpo", "simpo", "reward"):
        rose = after["custom"]["preference_accuracy"] > max(0.7, before["custom"]["preference_accuracy"] - 1e-9)
        return rose and after["custom"]["margin"] > before["custom"]["margin"] and after["loss"] < before["loss"]
    if objective == "kto":
        return after["custom"]["margin"] > before["custom"]["margin"] + 0.01 and after["loss"] < before["loss"]
    if objective == "contrastive" and after["custom"]["mrr"] <= before["custom"]["mrr"] + 0.05:
        return False
    if objective == "codec_lm" and not (after["custom"]["code_accuracy"] > before["custom"]["code_accuracy"] + 0.05 > 0.05):
        return False
    if objective == "speech" and after["custom"]["spectrum_similarity"] <= before["custom"]["spectrum_similarity"] + 0.05:
        return False
    return after["loss"] < ENOUGH.get(point.adaptation, 0.95) * before["loss"]


def live(job, control=toy.running, point=None, count=0):
    """One life, of one process or of two as the job's strategy asks for: (what each process ended with, what was said)."""
    if job.stages[0].point.strategy == "single":
        code, said = lives.live(job, control=control, point=point, count=count)
        return [code], said
    return lives.live_together(job, 2, control=control, point={"mid_step": "in_optimizer"}.get(point, point), count=count)


def reloaded(job):
    """Largest relative difference to what the trained model gives: adapter on its base, whole model (None: there is none)."""
    subject, result = SUBJECTS[job.modality], result_of(job)
    run, _ = restored(job.model_copy(update={"resume_from": lives.newest(job.run_dir)}))
    trained = subject.trained(run, job)
    adapted = pieces.adaptation(job.stages[-1].point.adaptation)
    assert (result / "model").exists() == adapted.merges, "a whole model is left exactly where there can be one"
    whole = off(trained, subject.whole(job, result / "model")) if adapted.merges else None
    alone = adapted.adapter and (len(job.stages) == 1 or not adapted.merges)
    assert (result / "adapter").exists() == alone, "an adapter is left exactly where one on the plain base says it all"
    adapter = off(trained, subject.adapter(job, result / "adapter")) if alone else None
    return adapter, whole


def checks_of(root, method, points, capability, precision="fp32", modality=None):
    """Runs everything; name → whether it held."""
    same, merge_same = SAME[precision]
    straight = job_of(root / "straight", method, points, capability, precision, modality)
    codes, said = live(straight)
    assert not any(codes), [one.read_text() for one in Path(straight.run_dir).glob("error-*")]
    losses, tensors = lives.losses(said), lives.final_tensors(straight.run_dir)
    trains = trained(points, said)
    adapter, whole = reloaded(straight)

    frozen = job_of(root / "frozen", method, points, capability, precision, modality)
    at = random.Random(method.id).randint(1, len(losses) - 1)
    early = live(frozen, control=freeze_at(at))
    start = lives.newest(frozen.run_dir)
    late = live(frozen.model_copy(update={"generation": 2, "resume_from": start}))

    killed = job_of(root / "killed", method, points, capability, precision, modality)
    merged = {}
    for generation, life in enumerate((("mid_step", 3), ("mid_shard", 1), None), 1):
        start = lives.newest(killed.run_dir)
        turn = killed.model_copy(update={"generation": generation, "resume_from": start})
        codes, said = live(turn, point=life[0], count=life[1]) if life else live(turn)
        assert (-signal.SIGKILL in codes and 0 not in codes) if life else not any(codes)
        merged |= lives.losses(said)
    return {
        "trains": trains,
        "resume_exact": lives.losses(early[1]) | lives.losses(late[1]) == losses and lives.final_tensors(frozen.run_dir) == tensors,
        "kill_exact": merged == losses and lives.final_tensors(killed.run_dir) == tensors,
        "reload_same": (adapter if adapter is not None else whole) < same,
        "merge_same": whole is None or whole < merge_same,
    }


def params():
    """All cases; `slow` are those whose every piece is met by others before. `make test` leaves them to `make conformance`: a
    proof of other code than the present fails `make check`.
    """
    made, met = [], set()
    for name, strategy, modality, method, points, capabilities in sorted(cases(), key=_order):
        several = modality != "text" and strategy != "single"  # strategies are blind to the modality
        named = {*names_of(points, modality), *(("precision", str(one.base_precision)) for one in points)}
        pieces_of = {(modality if one[1] in EVERYWHERE else "", *one) for one in named}
        slow = several or pieces_of <= met
        met |= set() if slow else pieces_of
        told = name if modality == "text" else f"{name}-{modality}"
        marks = [pytest.mark.slow] if slow else []
        made.append(pytest.param(name, strategy, modality, method, points, capabilities, id=told, marks=marks))
    return made


def _order(case):
    """Text first, then what is tried everywhere, so that the others are met where they cost least."""
    name, _, modality, _, points, _ = case
    return len(points), modality != "text", points[0].adaptation not in EVERYWHERE, name


@pytest.fixture(scope="module", autouse=True)
def preloaded(tmp_path_factory):
    """One run in this process, so that forked lives start in a moment; a judge on this machine."""
    assert documents.NAME
    lives.preload(None, job=tiny.tiny_job(tmp_path_factory.mktemp("preload")))
    with judge_server.serving() as JUDGE["url"]:
        yield


@pytest.mark.parametrize(
    ("name", "strategy", "modality", "method", "points", "capabilities"),
    params(),
)
def test_method(tmp_path, name, strategy, modality, method, points, capabilities):
    checks = checks_of(tmp_path, method, points, capabilities[0], modality=modality)
    if os.environ.get("KRIPTIK_WRITE_PROOF") == "1":
        stack = {package: importlib.metadata.version(package) for package in PACKAGES[modality]}
        way = modality if modality in load_catalogue().ways else None
        write_proofs(proof_entry(name, capability.id, strategy, checks, stack, way) for capability in capabilities)
    assert checks == dict.fromkeys(checks, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "points", "capability", "modality", "precision"),
    [
        pytest.param(method, points, capabilities[0], modality, precision, id=f"{name}-{precision}")
        for name, strategy, modality, method, points, capabilities in cases()
        for precision in ("bf16", "fp16")
        if strategy == "single"
        and precision in SUBJECTS[modality].precisions
        and points[0].base_precision is None
        and all(fits_fp16(point) if precision == "fp16" else point.objective != "ppo" for point in points)
    ],
)
def test_method_in_half_precision(tmp_path, method, points, capability, modality, precision):
    checks = checks_of(tmp_path, method, points, capability, precision, modality)
    assert checks == dict.fromkeys(checks, True)


def test_what_has_no_case_is_known_by_name():
    """A method, a capability or a way that is added has cases, or somebody writes down here why not."""
    claimed = {(method.id, way.id if way else capability.modality, capability.id) for method, capability, way in claims()}
    covered = {(name, modality, one.id) for name, _, modality, _, _, capabilities in cases() for one in capabilities}
    known = {(name, modality) for named in WITHOUT.values() for name, several in named.items() for modality in several.split()}
    assert claimed - covered == {claim for claim in claimed if claim[:2] in known}
    assert known == {claim[:2] for claim in claimed - covered}, "no longer without a case, or not claimed"
