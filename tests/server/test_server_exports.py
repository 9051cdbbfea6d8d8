"""Exports over the API: what can be had, start, follow, download, cancel, fail; and what bills is gone afterwards."""

from datetime import timedelta

import pytest
from harness import until

from kriptik.store.tables import ExportRow


def finished(server, job_id, export_id):
    def ended():
        found = server.api("GET", f"/jobs/{job_id}/exports/{export_id}")
        return found if found["state"] not in ("waiting", "working") else None

    return until(ended)


def trained(server, **knobs):
    job_id = server.train(steps=5, knobs=knobs)
    server.wait(job_id, "completed")
    return job_id


def test_an_export_is_written_listed_and_downloaded(server):
    job_id = trained(server)
    forms = {offer["form"]: offer["whyNot"] for offer in server.api("GET", f"/jobs/{job_id}/exports/offers")["forms"]}
    assert forms == {"merged": None, "adapter": None, "gguf": None, "ollama": None}
    started = server.api("POST", f"/jobs/{job_id}/exports", 201, json={"formats": ["merged", "adapter"]})
    assert started["state"] == "waiting"
    done = finished(server, job_id, started["id"])
    assert done["state"] == "done" and done["progress"] == 1 and done["error"] is None
    for file in done["result"]["files"]:
        answer = server.http.get(f"/api/training/jobs/{job_id}/files/{file['path']}")
        assert answer.status_code == 200 and len(answer.content) == file["bytes"]
    assert [one["id"] for one in server.api("GET", f"/jobs/{job_id}/exports")["exports"]] == [started["id"]]
    until(lambda: not server.provider.alive())
    server.restart()
    assert server.api("GET", f"/jobs/{job_id}/exports/{started['id']}") == done
    server.api("DELETE", f"/jobs/{job_id}", 204)
    assert not server.core.run_dir(job_id).exists()


def test_one_at_a_time_cancelled_at_will(server):
    job_id = trained(server, exportS=30)
    started = server.api("POST", f"/jobs/{job_id}/exports", 201, json={})
    until(lambda: server.api("GET", f"/jobs/{job_id}/exports/{started['id']}")["state"] == "working")
    assert server.api("POST", f"/jobs/{job_id}/exports", 409, json={})["code"] == "export_running"
    assert server.api("DELETE", f"/jobs/{job_id}", 409)["code"] == "run_in_export"
    assert server.api("DELETE", f"/jobs/{job_id}/exports/{started['id']}")["state"] == "cancelled"
    until(lambda: not server.provider.alive())
    assert finished(server, job_id, started["id"])["state"] == "cancelled"


def test_an_export_that_takes_too_long_is_ended_and_says_so(server):
    job_id = trained(server, exportS=30)
    started = server.api("POST", f"/jobs/{job_id}/exports", 201, json={})
    half = server.core.run_dir(job_id) / "exports" / f".{started['id']}"
    half.mkdir(parents=True)
    until(lambda: server.api("GET", f"/jobs/{job_id}/exports/{started['id']}")["state"] == "working")
    with server.core.db.write() as session:
        session.get_one(ExportRow, started["id"]).expires_at -= timedelta(days=1)
    until(lambda: not server.provider.alive())
    until(lambda: server.api("GET", f"/jobs/{job_id}/exports/{started['id']}")["endedAt"])
    ended = finished(server, job_id, started["id"])
    assert (ended["state"], ended["code"]) == ("failed", "export_over") and not half.exists()


def test_a_failed_check_is_told_with_its_next_step(server):
    job_id = trained(server, exportFails="gguf_differs")
    started = server.api("POST", f"/jobs/{job_id}/exports", 201, json={"formats": ["gguf"]})
    failed = finished(server, job_id, started["id"])
    assert (failed["state"], failed["code"]) == ("failed", "gguf_differs")
    assert "off by" in failed["error"] and "f16" in failed["nextStep"] and failed["result"] is None
    until(lambda: not server.provider.alive())


def test_bad_requests_start_nothing(server, monkeypatch):
    job_id = server.train(steps=60, knobs={"stepS": 0.03})
    path = f"/jobs/{job_id}/exports"
    assert server.api("POST", path, 409, json={})["code"] == "nothing_to_export"
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped")
    for body in (
        {"formats": ["exe"]}, {"formats": []}, {"ggufType": "q2_k"}, {"token": "x"}, {"hub": {"repoId": "../../x"}},
        {"hub": {"repoId": "a/b", "token": "hf_x"}}, {"formats": ["merged"] * 9},
    ):  # fmt: skip
        assert server.api("POST", path, 422, json=body)["code"] == "invalid_input", body
    assert server.api("POST", path, 404, json={"checkpointId": "s0-999999-g1"})["code"] == "checkpoint_not_found"
    assert server.api("POST", "/jobs/01NOSUCHRUN/exports", 404, json={})["code"] == "job_not_found"
    assert server.api("GET", f"{path}/01NOSUCHEXPORT", 404)["code"] == "export_not_found"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert server.api("POST", path, 422, json={"hub": {"repoId": "someone/bot"}})["code"] == "hub_token_missing"
    assert server.api("GET", path)["exports"] == [] and not server.provider.alive()


def test_sizes_are_predicted_and_a_full_disk_is_said_first(server, monkeypatch):
    from kriptik.server.runs import exporting

    job_id = trained(server)
    model = server.core.run_dir(job_id) / "result" / "model"
    with server.core.db.write() as session:
        from kriptik.store.tables import Job

        row = session.get_one(Job, job_id)
        row.result = {**row.result, "adapterPath": None, "modelPath": "result/model"}
    header = b'{"a":{"dtype":"F32","shape":[1000,1000],"data_offsets":[0,4000000]}}'
    model.mkdir()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4_000_000))
    (model / "config.json").write_text('{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}')
    forms = {offer["form"]: offer for offer in server.api("GET", f"/jobs/{job_id}/exports/offers")["forms"]}
    assert forms["merged"]["bytes"] == pytest.approx(4_000_000, rel=0.01)
    assert forms["gguf"]["byType"]["q8_0"] == pytest.approx(1_062_500, rel=0.1)
    assert "mamba" in forms["gguf"]["whyNot"] and "adapter" in forms["adapter"]["whyNot"]
    refusal = server.api("POST", f"/jobs/{job_id}/exports", 422, json={"formats": ["merged", "gguf"]})
    assert refusal["code"] == "form_not_possible" and refusal["nextStep"] == "Export it as merged instead."
    monkeypatch.setattr(exporting, "free_bytes", lambda path: 1_000_000)
    assert server.api("POST", f"/jobs/{job_id}/exports", 507, json={"formats": ["merged"]})["code"] == "disk_full"
