"""The page's sources: the typed client is current, the files are short, nothing is drawn from elsewhere."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WEB = ROOT / "web"
MOST_LINES = 250
SOURCES = [p for p in (WEB / "src").rglob("*.ts*") if p.name != "schema.d.ts"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_typed_client_belongs_to_this_server():
    web_api = script("web_api")
    written = web_api.SCHEMA.read_text().splitlines()[0]
    assert written == web_api.first_line(web_api.document()), "run `make web-api`"


def test_the_stamp_sees_sources_and_not_tests(tmp_path, monkeypatch):
    build = script("build_web")
    monkeypatch.setattr(build, "WEB", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.ts").write_text("1")
    first = build.stamp()
    (tmp_path / "src" / "a.test.ts").write_text("2")
    assert build.stamp() == first
    (tmp_path / "src" / "a.ts").write_text("3")
    assert build.stamp() != first


def test_files_are_short_and_features_do_not_know_each_other():
    for file in SOURCES:
        text = file.read_text()
        assert len(text.splitlines()) <= MOST_LINES, f"{file} is long"
        feature = re.search(r"features/(\w+)/", str(file))
        for imported in re.findall(r'from "\.\./(\w+)/', text) if feature else []:
            assert imported in ("lib", "ui"), f"{file} imports the feature {imported}"


def test_no_emoji_no_outside_address_no_purple():
    for file in [*SOURCES, *(WEB / "src").rglob("*.css"), WEB / "index.html"]:
        text = file.read_text()
        assert not re.search("[\U0001f300-\U0001faff\u2600-\u27bf]", text), f"{file} holds an emoji"
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?https?://", text), f"{file} names an outside address"
        assert not re.search(r"purple|fuchsia|pink", text), file
