"""Statuses are computed: an entry proves a method only while its checks are true and the code is what it was."""

import json
from datetime import date

import pytest

from kriptik.catalogue import proof
from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.points import fill_points
from kriptik.catalogue.sources import pieces_hash
from kriptik.spec.catalogue import Point, ProofEntry
from kriptik.spec.errors import KriptikError, NotFoundError

FILES = {
    "pieces.py": (
        'ADAPTATIONS = {"lora": "kriptik.engine.adaptations.lora:Lora", "full": "kriptik.engine.adaptations.full:Full"}\n'
        'OBJECTIVES: dict = {"causal_lm": "kriptik.engine.objectives.causal_lm:CausalLm"}\n'
        'STRATEGIES = {"single": "kriptik.engine.strategies.single:Single", "fsdp": "kriptik.engine.strategies.fsdp:Fsdp"}\n'
        'MODALITIES = {"text": "kriptik.engine.modalities.text:Text", "music": "kriptik.engine.modalities.music:Music", '
        '"sound": "kriptik.engine.modalities.sound:Sound"}\n'
    ),
    "train.py": "def train(): ...\n",
    "losses.py": "FACTOR = 1\n",
    "adaptations/lora.py": '"""LoRA."""\nclass Lora:\n    """Doc."""\n    rank = 8\n',
    "adaptations/full.py": "class Full: ...\n",
    "objectives/causal_lm.py": "from kriptik.engine.losses import FACTOR\nfrom kriptik.engine import pieces\nclass CausalLm: ...\n",
    "strategies/single.py": "class Single: ...\n",
    "strategies/fsdp.py": "class Fsdp: ...\n",
    "modalities/text.py": "class Text: ...\n",
    "modalities/music.py": "class Music: ...\n",
    "modalities/sound.py": "class Sound: ...\n",
    "objectives/denoise.py": "class Denoise: ...\n",
}
LORA = [Point(adaptation="lora", objective="causal_lm", strategy="single")]


@pytest.fixture
def engine(tmp_path):
    """A small engine on disk: what is hashed is read from files."""
    for name, text in FILES.items():
        file = tmp_path / "engine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "engine"


def entry(engine, method="lora", capability="text_generation", strategy="single", **changes):
    made = ProofEntry(
        method=method,
        capability=capability,
        strategy=strategy,
        pieces_hash=proof.current_hash(method, capability, strategy, engine),
        checks={"trains": True, "resume_exact": True},
        proved_on=date(2026, 11, 25),
    )
    return made.model_copy(update=changes)


def by_id(proofs, engine):
    return {s.id: s for s in proof.statuses_from(proofs, engine)}


def test_no_proofs_means_all_planned(engine):
    statuses = by_id([], engine)
    assert len(statuses) == 41
    assert {s.status for s in statuses.values()} == {"planned"}
    assert all(s.reason for s in statuses.values())
    assert statuses["lora"].reason == "No conformance proof yet."
    assert statuses["qlora"].reason == "Loading a base model in 4-bit (nf4) is not proved yet."
    assert statuses["dpo"].reason == "The objective 'dpo' is not built yet."


def test_a_proof_makes_trainable_and_covers_the_same_points(engine):
    statuses = by_id([entry(engine)], engine)
    assert statuses["lora"].status == "trainable"
    assert statuses["lora"].reason is None
    assert statuses["lora"].capabilities == ["text_generation", "chat", "code_generation", "custom"], "not images"
    assert {i for i, s in statuses.items() if s.status == "trainable"} == {"lora"}


def test_a_tampered_hash_is_planned(engine):
    status = by_id([entry(engine, pieces_hash="0" * 64)], engine)["lora"]
    assert (status.status, status.reason) == ("planned", "Its code has changed since it was proved.")


def test_a_failed_check_is_planned(engine):
    status = by_id([entry(engine, checks={"trains": True, "resume_exact": False})], engine)["lora"]
    assert (status.status, status.reason) == ("planned", "Its conformance check 'resume_exact' fails.")


def test_an_alias_has_its_targets_status(engine):
    statuses = by_id([entry(engine, "full_finetune_fsdp", strategy="fsdp")], engine)
    assert statuses["fsdp"].status == statuses["full_finetune_fsdp"].status == "trainable"
    assert statuses["fsdp"].alias_of == "full_finetune_fsdp"
    assert statuses["full_finetune"].status == "planned", "one strategy's proof is not another's"


@pytest.mark.parametrize(
    ("file", "text", "same"),
    [
        ("adaptations/lora.py", '"""Other words."""\n# why\nclass Lora:\n\n    rank = (8)  # note\n', True),
        ("adaptations/lora.py", "class Lora:\n    rank = 16\n", False),
        ("losses.py", "FACTOR = 2\n", False),
        ("train.py", "def train(): return 1\n", False),
        ("adaptations/full.py", "class Full:\n    x = 1\n", True),
        ("pieces.py", FILES["pieces.py"] + "NEW = 1\n", True),
    ],
)
def test_what_the_hash_sees(engine, file, text, same):
    before = pieces_hash(LORA, "text", engine)
    (engine / file).write_text(text)
    assert (pieces_hash(LORA, "text", engine) == before) is same


def test_the_hash_sees_the_point(engine):
    quantised = [LORA[0].model_copy(update={"base_precision": "nf4"})]
    assert pieces_hash(quantised, "text", engine) != pieces_hash(LORA, "text", engine)


def test_a_missing_piece_and_an_open_axis_are_errors(engine):
    with pytest.raises(KriptikError, match="'dpo' is not built"):
        pieces_hash([Point(adaptation="lora", objective="dpo", strategy="single")], "text", engine)
    with pytest.raises(KriptikError, match="open"):
        pieces_hash([Point(adaptation="lora")], "text", engine)


def test_written_proofs_are_stable_and_read_back(engine, tmp_path):
    file = tmp_path / "proof.json"
    a, b = entry(engine), entry(engine, "full_finetune")
    proof.write_proofs([a, b], file)
    first = file.read_text()
    proof.write_proofs([b, a], file, keep_others=False)
    assert file.read_text() == first
    assert [p["method"] for p in json.loads(first)] == ["full_finetune", "lora"]
    newer = a.model_copy(update={"checks": {"trains": False}})
    proof.write_proofs([newer], file)
    assert proof.load_proofs(file) == [b, newer], "others stay, the newest wins"
    assert not list(tmp_path.glob("*.part"))


def test_a_proof_counts_for_its_own_way_alone(engine, tmp_path):
    """Music by a model of tokens and by one of noise are proved apart, whatever the method is called."""
    (engine / "pieces.py").write_text(FILES["pieces.py"].replace(
        'OBJECTIVES: dict = {', 'OBJECTIVES: dict = {"denoise": "kriptik.engine.objectives.denoise:Denoise", '
    ))
    way = load_catalogue().ways["sound"]
    method, capabilities = load_catalogue().methods["lora"], ["music_generation"]
    found = proof.current_hash("lora", "music_generation", "single", engine, "sound")
    made = ProofEntry(
        method="lora", capability="music_generation", strategy="single", pieces_hash=found, checks={"trains": True},
        proved_on=date(2026, 11, 25), way="sound",
    )
    assert proof._status(method, [made], capabilities, engine, way).status == "trainable"
    assert proof._status(method, [made], capabilities, engine).status == "planned"
    assert proof._status(method, [made.model_copy(update={"way": None})], capabilities, engine, way).status == "planned"
    (engine / "modalities/music.py").write_text("class Music:\n    x = 1\n")
    assert proof._status(method, [made], capabilities, engine, way).status == "trainable", "its own code is the same"
    (engine / "modalities/sound.py").write_text("class Sound:\n    x = 1\n")
    assert proof._status(method, [made], capabilities, engine, way).reason == "Its code has changed since it was proved."
    file = tmp_path / "proof.json"
    proof.write_proofs([made, entry(engine)], file)
    assert proof.load_proofs(file) == sorted([made, entry(engine)], key=lambda one: one.key)
    assert ["way" in one for one in json.loads(file.read_text())] == [True, False], "kept only where it says something"
    assert {name for way, name in proof.way_statuses()} == set(load_catalogue().methods)


def test_a_broken_proof_file_says_so(tmp_path):
    file = tmp_path / "proof.json"
    assert proof.load_proofs(file) == []
    file.write_text('[{"method": "lora"}]')
    with pytest.raises(KriptikError) as caught:
        proof.load_proofs(file)
    assert caught.value.code == "catalogue_broken"


def test_status_of(monkeypatch, tmp_path):
    assert proof.status_of("lora").id == "lora"
    assert proof.status_of("textual_inversion", "chat").reason == "It makes no sense for chat."
    for call in (("no_such",), ("lora", "no_such")):
        with pytest.raises(NotFoundError):
            proof.status_of(*call)


def test_wire_form_is_what_the_command_prints():
    rows = [s.wire() for s in proof.method_statuses()]
    assert len(rows) == 41
    zero3 = next(r for r in rows if r["id"] == "deepspeed_zero3")
    assert zero3["aliasOf"] == "full_finetune_deepspeed"
    assert zero3["stages"] == [{"adaptation": "full", "objective": None, "strategy": "deepspeed", "options": {"stage": 3}}]
    for row in rows:
        assert row["status"] in ("trainable", "planned")
        assert (row["status"] == "planned") == ("reason" in row)
        assert row["capabilities"]


def test_every_method_can_be_filled_for_every_capability_it_names():
    catalogue = load_catalogue()
    for method in catalogue.methods.values():
        for capability in method.capabilities:
            for point in fill_points(method, catalogue.capabilities[capability]):
                assert None not in (point.adaptation, point.objective, point.strategy)
