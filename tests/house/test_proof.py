"""No stale proof: what the catalogue says is trainable was proved with the code as it is now."""

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.proof import PROOF_FILE, load_proofs, pair_statuses, stale_proofs
from kriptik.spec.catalogue import ProofEntry


def test_every_proof_is_of_the_present_code():
    stale = [f"{p.method} / {p.capability} / {p.strategy}" for p in stale_proofs()]
    assert not stale, f"the code changed since these were proved; run make conformance: {', '.join(stale)}"


def test_the_file_is_sorted_and_has_no_key_twice():
    keys = [p.key for p in load_proofs()]
    assert keys == sorted(set(keys))


def test_what_the_catalogue_claims_is_proved_or_says_why_not():
    """A claim without a proof is planned, for a reason of its own: that nobody has tried is none."""
    real = {method.id: method.alias_of or method.id for method in load_catalogue().methods.values()}
    proved = {(p.method, p.capability, p.way): p for p in load_proofs() if all(p.checks.values())}
    old = {p.key for p in stale_proofs()}
    for pair in pair_statuses():
        there = proved.get((real[pair.method], pair.capability, pair.way))
        assert (pair.status == "trainable") == (there is not None and there.key not in old), pair
        assert there or pair.reason not in (None, "No conformance proof yet."), f"prove it, or claim it no longer: {pair}"


def test_no_proof_is_of_what_is_not_claimed():
    claimed = {(pair.method, pair.capability, pair.way) for pair in pair_statuses()}
    orphans = [p.key for p in load_proofs() if (p.method, p.capability, p.way) not in claimed]
    assert not orphans, "claim it, or take its proof away"


def test_a_stale_proof_would_be_found(tmp_path):
    entry = {
        "method": "lora",
        "capability": "text_generation",
        "strategy": "single",
        "pieces_hash": "0" * 64,
        "checks": {"trains": True},
        "proved_on": "2026-11-25",
    }
    file = tmp_path / PROOF_FILE.name
    file.write_text(f"[{ProofEntry.model_validate(entry).model_dump_json()}]")
    assert [p.method for p in stale_proofs(file)] == ["lora"]
