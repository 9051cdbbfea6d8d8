"""The local provider over the shared suite, and what only it can show: restarts, recycled numbers, killed keepers, logs."""

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal

import psutil
import pytest
from provider_suite import DEAF, QUIT_ON_TERM, ProviderSuite

from kriptik.providers import keeper, local
from kriptik.providers.gpus import cpu_bf16, read_smi
from kriptik.providers.local import MARK, LocalProvider
from kriptik.providers.packages import packages_here
from kriptik.providers.provider import ResourceSpec, make_provider
from kriptik.spec.errors import BadInputError


def marked(folder):
    """Every process of any resource under a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "local"
    yield made
    left = marked(made)
    for process in left:
        process.kill()


@pytest.fixture
def provider(folder):
    """`python FILE` takes the place of the worker; the job file is the program."""
    made = LocalProvider(folder, Decimal("0.5"), command=[sys.executable, "-S"], grace_s=0.6)
    yield made
    for resource in made.list_own(""):
        made.terminate(resource.id)
    assert not marked(folder), "a process was left"


@pytest.fixture
def spec_for(tmp_path):
    def make(name, program, env=None):
        spec = ResourceSpec(name=name, job_file=str(tmp_path / f"{name or 'x'}.py"), run_dir=str(tmp_path), env=env or {})
        (tmp_path / f"{name}.py").write_text(program)
        return spec

    return make


class TestLocal(ProviderSuite):
    def test_price_is_the_owners(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", "print()"))
        assert made.price_per_hour == Decimal("0.5")
        provider.price_per_hour = Decimal(9)
        assert provider.get(made.id).price_per_hour == Decimal("0.5"), "the price of a made one stands"

    def test_a_new_server_knows_what_an_old_one_started(self, provider, folder, spec_for, tmp_path):
        made = provider.create(spec_for("kt-a-1-g1", f"import time, pathlib; p = pathlib.Path({str(tmp_path / 'go')!r})\n"
                                        "while not p.exists(): time.sleep(0.01)\nraise SystemExit(5)"))  # fmt: skip
        other = LocalProvider(folder, command=[sys.executable, "-S"])
        assert other.get(made.id).status == "running"
        assert [r.id for r in other.list_own("kt-")] == [made.id]
        (tmp_path / "go").write_text("")
        assert self.exited(other, made).exit_code == 5, "it is no child of this provider"
        other.terminate(made.id)
        assert provider.get(made.id).status == "gone"

    def test_outlives_the_server_process(self, folder, spec_for, tmp_path):
        spec = spec_for("kt-a-1-g1", QUIT_ON_TERM)
        program = (
            "import sys; from pathlib import Path; from kriptik.providers.local import LocalProvider\n"
            "from kriptik.providers.provider import ResourceSpec\n"
            "p = LocalProvider(Path(sys.argv[1]), command=[sys.executable, '-S'])\n"
            "p.create(ResourceSpec.model_validate_json(sys.argv[2])); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", program, str(folder), spec.model_dump_json()], timeout=60)
        assert done.returncode == -signal.SIGKILL
        provider = LocalProvider(folder, command=[sys.executable, "-S"], grace_s=5)
        (resource,) = provider.list_own("kt-")
        assert resource.status == "running"
        self.said(provider, resource, "up")
        provider.terminate(resource.id)
        assert provider.get(resource.id).exit_code == 7
        assert not marked(folder)

    def test_killed_between_intent_and_start_is_repaired_by_asking_again(self, provider, folder, spec_for):
        spec = spec_for("kt-a-1-g1", QUIT_ON_TERM)
        home = folder / spec.name
        home.mkdir(parents=True)
        intent = {"name": spec.name, "jobFile": spec.job_file, "runDir": spec.run_dir, "createdAt": "2026-01-01T00:00:00+00:00",
                  "pricePerHour": "0", "gpus": [], "mark": f"{home} 1"}  # fmt: skip
        (home / "intent.json").write_text(json.dumps(intent))
        assert provider.get(spec.name).status == "exited", "nothing runs, and it was long ago"
        assert provider.create(spec).status == "running"

    def test_one_asked_for_and_ended_before_it_began_never_starts(self, provider, folder, spec_for, tmp_path):
        spec = spec_for("kt-a-1-g1", f"open({str(tmp_path / 'ran')!r}, 'w')")
        home = folder / spec.name
        home.mkdir(parents=True)
        (home / "ending.json").write_text("{}")
        keeper.main([str(home), "--", sys.executable, "-S", spec.job_file])
        assert not (tmp_path / "ran").exists()

    def test_a_killed_worker_shows_its_signal(self, provider, folder, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", DEAF))
        os.kill(json.loads((folder / made.name / "started.json").read_text())["worker"], signal.SIGKILL)
        assert self.exited(provider, made).exit_code == -9

    def test_a_killed_keeper_leaves_the_worker_in_hand(self, provider, folder, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
        self.said(provider, made, "up")
        os.kill(json.loads((folder / made.name / "started.json").read_text())["pid"], signal.SIGKILL)
        self.until(lambda: not local._keeper_lives(folder / made.name))
        assert provider.get(made.id).status == "running", "the worker itself still lives"
        assert provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM)).status == "running"
        provider.terminate(made.id)
        assert provider.get(made.id).status == "gone"

    def test_a_recycled_process_number_is_never_touched(self, provider, folder, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", "print('x')"))
        self.exited(provider, made)
        self.until(lambda: not local._keeper_lives(folder / made.name))
        stranger = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        try:
            home = folder / made.name
            (home / "exit.json").unlink()
            (home / "started.json").write_text(json.dumps({"pid": stranger.pid, "worker": stranger.pid}))
            assert provider.get(made.id).status == "exited"
            provider.terminate(made.id)
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_children_in_sessions_of_their_own_end_too(self, provider, folder, spec_for):
        child = "import time; time.sleep(60)"
        program = (
            f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', {child!r}], start_new_session=True)\n"
            "print('up'); time.sleep(60)"
        )
        made = provider.create(spec_for("kt-a-1-g1", program))
        self.said(provider, made, "up")
        assert len(marked(folder)) == 3
        provider.terminate(made.id)
        assert not marked(folder)

    def test_children_left_by_a_worker_that_ended_are_ended(self, provider, folder, spec_for):
        program = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])"
        made = provider.create(spec_for("kt-a-1-g1", program))
        self.exited(provider, made)
        self.until(lambda: len(marked(folder)) == 1)  # the keeper leaves a moment after it wrote the exit code
        provider.terminate(made.id)
        assert not marked(folder)

    def test_no_secret_on_disk_or_command_line(self, provider, folder, spec_for, monkeypatch):
        monkeypatch.setenv("KRIPTIK_DATABASE_URL", "of-the-server")
        program = "import os, time; e = os.environ.get; print(e('GOMP_SPINCOUNT'), e('KRIPTIK_DATABASE_URL')); time.sleep(60)"
        made = provider.create(spec_for("kt-a-1-g1", program, env={"KRIPTIK_WORKER_TOKEN": "s3cr3t-t0k3n"}))
        self.until(lambda: provider.logs(made.id))
        assert provider.logs(made.id)[0] == f"{os.environ.get('GOMP_SPINCOUNT', '10000')} None"
        lines = " ".join(word for process in marked(folder) for word in process.cmdline())
        files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert "s3cr3t" not in lines and b"s3cr3t" not in files

    def test_a_command_that_is_not_there_says_so(self, folder, spec_for):
        provider = LocalProvider(folder, command=["no-such-program-anywhere"])
        made = provider.create(spec_for("kt-a-1-g1", ""))
        ended = self.exited(provider, made)
        assert ended.exit_code == keeper.NOT_STARTED and "no-such-program" in ended.detail
        provider.terminate(made.id)

    def test_gpus_are_refused_where_there_are_none(self, provider, spec_for, monkeypatch):
        monkeypatch.setattr(local, "gpus_here", list)
        with pytest.raises(BadInputError, match="has 0 NVIDIA GPUs"):
            provider.create(spec_for("kt-a-1-g1", "").model_copy(update={"gpu": "H100"}))
        assert provider.list_own("") == []

    def test_gpus_are_given_once(self, provider, spec_for, monkeypatch):
        two = read_smi("0, NVIDIA H100 80GB HBM3, 81559\n1, NVIDIA H100 80GB HBM3, 81559")
        monkeypatch.setattr(local, "gpus_here", lambda: two)
        program = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(60)"
        seen = []
        for name in ("kt-a-1-g1", "kt-a-2-g1"):
            made = provider.create(spec_for(name, program).model_copy(update={"gpu": "H100"}))
            self.until(lambda made=made: provider.logs(made.id))
            seen += provider.logs(made.id)
        assert seen == ["0", "1"]
        with pytest.raises(Exception, match="in use"):
            provider.create(spec_for("kt-a-3-g1", program).model_copy(update={"gpu": "H100"}))
        assert [(o.gpu, o.gpu_count) for o in provider.offers()] == [("cpu", 1), ("H100", 1), ("H100", 2)]


def test_log_is_bounded_and_its_newest_part_kept(tmp_path):
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        for n in range(1000):
            writer.write(f"line {n}\n".encode())
        keeper.cut_log(log, 2000)
        writer.write(b"after\n")
    assert log.read_text() == "after\n", "the writer goes on at the new end"
    assert (tmp_path / "worker.log.1").stat().st_size == 2000
    assert local._log_tail(tmp_path, 2) == ["line 999", "after"]


def test_smi_lines():
    text = "0, NVIDIA A100-SXM4-80GB, 81920\n1, NVIDIA GeForce RTX 4090, 24564\n2, NVIDIA Odd Card, 1000\n3, [Error], [N/A]\n"
    assert [(g.index, g.id) for g in read_smi(text)] == [(0, "A100-80GB"), (1, "RTX4090"), (2, "Odd-Card")]


def test_made_by_name(tmp_path):
    assert make_provider("local", tmp_path, Decimal(1)).name == "local"
    with pytest.raises(BadInputError, match="no provider"):
        make_provider("cloud9", tmp_path)


def test_old_traces_are_pruned(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "KEPT", 2)
    for n in range(5):
        (tmp_path / f"kt-{n}").mkdir()
        (tmp_path / f"kt-{n}" / "gone.json").write_text("{}")
        os.utime(tmp_path / f"kt-{n}" / "gone.json", (n, n))
    LocalProvider(tmp_path)._prune()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kt-3", "kt-4"]


@pytest.mark.parametrize(
    ("facts", "native"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_tile amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f\nmodel name\t: bf16 in name only\n", False),
    ],
)
def test_whether_the_cpu_multiplies_in_bf16(tmp_path, facts, native):
    (tmp_path / "cpuinfo").write_text(facts)
    assert cpu_bf16(tmp_path / "cpuinfo") is native
    assert cpu_bf16(tmp_path / "nothing") is False


@pytest.mark.parametrize(
    ("torch", "vision", "loads"),
    [
        ("2.13.0", "0.28.0", True),
        ("2.13.0+cpu", "0.28.0+cpu", True),
        ("2.13.0+cpu", "0.28.0", False),  # made for a GPU's torch: its operators would not be found
        ("2.14.1", "0.28.0", False),
        ("2.13.0", None, False),
        (None, "0.28.0", False),
    ],
)
def test_which_packages_a_worker_here_could_load_is_read_and_not_imported(tmp_path, monkeypatch, torch, vision, loads):
    for name, version, wants in (("torch", torch, ""), ("torchvision", vision, "Requires-Dist: torch (==2.13.0)\n")):
        if version:
            facts = tmp_path / f"{name}-{version}.dist-info" / "METADATA"
            facts.parent.mkdir()
            facts.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: numpy\n{wants}")
    monkeypatch.syspath_prepend(tmp_path)
    assert packages_here(("torchvision", "no_such_thing")) == (["torchvision"] if loads else [])
