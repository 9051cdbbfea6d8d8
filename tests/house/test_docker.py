"""Images are small, pinned and without root; where no container can be built, at least what the files say is held to that."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_image_is_pinned_small_and_without_root(path):
    text = path.read_text()
    base = re.search(r"^ARG BASE=(\S+)$", text, re.M)[1]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base), "an exact version of a slim base"
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) == {"$BASE"} and text.count("\nFROM ") == 2
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER kriptik$", last, re.M) and "pip install" not in last, "built apart, run by a user of its own"
    assert last.index("USER kriptik") < last.index("ENTRYPOINT")
    installs = re.findall(r"pip install .*", text)
    pins = ("--constraint /src/requirements.lock", '"vllm==$VLLM"')  # vLLM stands apart, by its own pins
    assert installs and all(any(pin in one for pin in pins) and "--no-cache-dir" in one for one in installs)
    assert not re.search(r"(KEY|TOKEN|SECRET|PASSWORD)=", text)


def test_every_copied_path_is_there():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for path in FILES:
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.M):
            for one in line.split():
                assert (ROOT / one).exists() and one not in ignored, f"{path.name}: {one}"


def test_torchvision_is_that_of_the_locks_torch_and_in_the_images_for_media():
    """They are released together: since 2.0 and 0.15 its minor number is torch's and 15."""
    torch = re.search(r"^torch==2\.(\d+)\.", (ROOT / "requirements.lock").read_text(), re.M)[1]
    vision = re.search(r'"torchvision==0\.(\d+)\.\d+"', (ROOT / "pyproject.toml").read_text())[1]
    assert int(vision) == int(torch) + 15
    holds = {path.name: set(re.search(r'"/src\[([\w,]+)\]"', path.read_text())[1].split(",")) for path in FILES}
    assert {name for name, extras in holds.items() if "media" in extras} == {"media.Dockerfile", "distributed.Dockerfile"}
    assert all(("vision" in extras) == ("media" in extras) for extras in holds.values())


def test_extras_are_known():
    known = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1], re.M))
    for path in FILES:
        for extras in re.findall(r'"/src\[([\w,]+)\]"', path.read_text()):
            assert set(extras.split(",")) <= known
