"""No stale proof: what the catalogue says is trainable was proved with the code as it is now."""

from kriptik.catalogue.proof import PROOF_FILE, load_proofs, stale_proofs
from kriptik.spec.catalogue import ProofEntry


def test_every_proof_is_of_the_present_code():
    stale = [f"{p.method} / {p.capability} / {p.strategy}" for p in stale_proofs()]
    assert not stale, f"the code changed since these were proved; run make conformance: {', '.join(stale)}"


def test_the_file_is_sorted_and_has_no_key_twice():
    keys = [p.key for p in load_proofs()]
    assert keys == sorted(set(keys))


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
