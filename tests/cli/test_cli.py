"""The command line against a real server whose workers are the model-less ones of the server tests."""

import json

import pytest
from harness import ProcessProvider, Server, add_run, until
from typer.testing import CliRunner

from kriptik.cli.client import Client
from kriptik.cli.main import app, main
from kriptik.spec.catalogue import Point
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import Stage

run = CliRunner().invoke


@pytest.fixture
def server(tmp_path, monkeypatch):
    provider = ProcessProvider("6")
    made = Server(tmp_path / "home", provider)
    monkeypatch.setenv("KRIPTIK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KRIPTIK_URL", f"http://127.0.0.1:{made.port}")
    yield made
    made.stop()
    assert not provider.alive()
    provider.close()


def test_jobs_freeze_resume_and_watch_to_the_end(server):
    job = server.train(steps=40, knobs={"stepS": 0.02})
    server.wait(job, "training")
    listed = json.loads(run(app, ["jobs", "--json"]).output)
    assert [row["id"] for row in listed] == [job]
    assert run(app, ["freeze", "last"]).exit_code == 0
    frozen = server.wait(job, "frozen")
    resumed = json.loads(run(app, ["resume", "last", "--budget", "7", "--json"]).output)
    assert resumed["success"] and resumed["job"]["maxBudget"] == 7
    seen = run(app, ["watch", "last"])
    assert seen.exit_code == 0, seen.output
    assert "completed" in seen.output
    assert server.job(job)["generation"] == frozen["generation"] + 1


def test_a_stage_that_waits_is_approved(server):
    second = Stage(index=1, name="Alignment", method="dpo", point=Point(adaptation="lora", objective="dpo"), requires_approval=True)
    job = add_run(server.core, 12, knobs={"approvalAt": 12}, more=[second])
    assert "does not wait" in str(run(app, ["approve", job]).exception)
    server.wait(job, "awaiting_approval")
    assert "kriptik approve" in run(app, ["watch", job]).output
    assert run(app, ["approve", job]).output.strip() == "Stage 2 may begin."
    server.wait(job, "completed")


def test_stop_keeps_checkpoints(server):
    job = server.train(steps=500, knobs={"stepS": 0.02})
    until(lambda: server.api("GET", f"/jobs/{job}/checkpoints")["checkpoints"])
    assert run(app, ["stop", job]).exit_code == 0
    server.wait(job, "stopped")
    assert server.api("GET", f"/jobs/{job}/checkpoints")["checkpoints"]


def test_what_cannot_be_done_says_so_and_fails(server, capsys, monkeypatch):
    job = server.train(steps=2)
    server.wait(job, "completed")
    monkeypatch.setattr("sys.argv", ["kriptik", "resume", job])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "run_finished" in capsys.readouterr().err


def test_without_a_server_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KRIPTIK_HOME", str(tmp_path))
    monkeypatch.delenv("KRIPTIK_URL", raising=False)
    with pytest.raises(KriptikError) as refused:
        Client()
    assert refused.value.code == "server_unknown" and "kriptik up" in refused.value.next_step


def test_the_stream_reconnects_over_a_server_restart(server):
    job = server.train(steps=60, knobs={"stepS": 0.05})
    server.wait(job, "training")
    client, seen = Client(), []
    for event in client.stream(job):
        seen.append(event["id"])
        if len(seen) == 20:
            server.restart()
        if event["body"]["type"] == "state" and event["body"]["state"] == "completed":
            break
    assert seen == list(range(1, len(seen) + 1))


def test_methods_lists_every_id_with_its_points():
    rows = json.loads(run(app, ["methods", "--json"]).output)
    assert len(rows) >= 35
    for row in rows:
        assert row["status"] in ("trainable", "planned")
        assert row["status"] == "trainable" or row["reason"]
        assert all({"adaptation", "objective", "strategy"} <= set(stage) for stage in row["stages"])
        assert row["pairs"] and all((pair["status"] == "planned") == ("reason" in pair) for pair in row["pairs"])
    dpo = next(row for row in rows if row["id"] == "dpo")
    (sound,) = [pair for pair in dpo["pairs"] if pair.get("way") == "sound"]
    assert sound["status"] == "planned" and sound["capability"] == "music_generation"
    shown = run(app, ["methods"]).output
    assert all(row["id"] in shown for row in rows) and "sound (" in shown
    assert " ".join(sound["reason"].split()[:6]) in shown, "why not, below"


def test_batches_answer_every_line(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "a", "prompt": "Fine-tune Llama for our support chat"}\nnot json\n{"id": "c"}\n')
    answer = run(app, ["intent", "--batch", str(source), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "line-2", "c"]
    assert rows[0]["contract"]["is_training_request"] is True


def test_export_writes_downloads_and_says_what_was_checked(server, tmp_path):
    job = server.train(steps=3)
    server.wait(job, "completed")
    done = run(app, ["export", "last", "--as", "merged", "--as", "adapter", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "4 of 4 conversations" in done.output and "vllm serve" in done.output
    assert (tmp_path / "out/model/merged.bin").read_bytes() == b"merged" * 1000
    again = run(app, ["export", job, "--out", str(tmp_path / "out")])
    assert isinstance(again.exception, KriptikError) and again.exception.code == "file_exists"
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["adapter.bin", "merged.bin"]
    wrong = run(app, ["export", job, "--as", "exe"])
    assert isinstance(wrong.exception, KriptikError) and wrong.exception.code == "invalid_input"
    until(lambda: not server.provider.alive())


def test_a_failed_export_fails_the_command(server):
    job = server.train(steps=3, knobs={"exportFails": "gguf_differs"})
    server.wait(job, "completed")
    failed = run(app, ["export", job, "--as", "gguf"])
    assert isinstance(failed.exception, KriptikError) and failed.exception.code == "gguf_differs"
    until(lambda: not server.provider.alive())


def test_options_are_shown_and_one_is_picked(server, monkeypatch):
    made = json.loads(run(app, ["plan", "Fine-tune a coding model for TypeScript, at most $30", "--json"]).output)["plan"]
    shown = json.loads(run(app, ["options", "last", "--json"]).output)
    assert [o["key"] for o in shown["options"]] == [o["key"] for o in made["options"]] and shown["modelCheck"]["id"]
    told = run(app, ["options", made["id"]]).output
    assert "licence:" in told and "In this plan".lower() in told.lower()
    other = next(o["key"] for o in made["options"] if not o["inPlan"])
    picked = json.loads(run(app, ["pick", other, made["id"], "--json"]).output)["plan"]
    assert [o["key"] for o in picked["options"] if o["inPlan"]] == [other]
    assert "no alternative" in str(run(app, ["pick", "dearest", made["id"]]).exception)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    alone = run(app, ["options", made["id"]]).output
    assert "The hub cannot be asked" in alone and "licence:" in alone, "options stand without the hub"


def test_a_data_set_is_mended_and_its_steps_are_kept(server, tmp_path):
    rows = [{"prompt": f"What of pipe {n}?", "completion": f"Call anna.{n}@example.org about pipe {n}."} for n in range(60)]
    data = server.api("POST", "/data", 201, files={"file": ("r.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())})
    steps = tmp_path / "recipe.json"
    mended = json.loads(run(app, ["data", "mend", data["id"], "--all", "--recipe", str(steps), "--json"]).output)
    fixes = mended["dataset"]["report"]["fixes"]
    findings = {finding["code"]: finding for finding in mended["dataset"]["report"]["findings"]}
    assert "mask_pii" in fixes and findings["personal_data"]["fixed"]
    assert json.loads(steps.read_text())["settings"]["fixes"] == fixes
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    again = run(app, ["data", "fix", str(tmp_path / "r.jsonl"), str(tmp_path / "out"), "--recipe", str(steps)])
    assert again.exit_code == 0 and mended["recipe"]["sha256"][:16] in again.output, "the same steps, the same bytes"
    undone = json.loads(run(app, ["data", "mend", "last", *(x for f in fixes for x in ("--undo", f)), "--json"]).output)
    assert undone["dataset"]["report"]["fixes"] == []


def test_pairs_to_label_are_laid_out(server):
    rows = [{"prompt": f"What of pipe {n}?", "chosen": f"Turn it {n} times.", "rejected": f"Pipe {n} is lost."} for n in range(20)]
    data = server.api("POST", "/data", 201, files={"file": ("p.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())})
    said = run(app, ["data", "label", data["id"], "--pairs", "10"])
    assert said.exit_code == 0 and "/label/" in said.output, said.output
