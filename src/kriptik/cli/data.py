"""`kriptik data …`: looking at data as training sees it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kriptik.catalogue.load import load_catalogue
from kriptik.cli.client import Client, kriptik_home
from kriptik.cli.show import DIM, FAULT, HOLD, SIGNAL
from kriptik.data.checks.table import FIXES
from kriptik.data.prepare import PREVIEW, PrepareSettings, prepare
from kriptik.data.prepare import check as examine
from kriptik.data.recipe import of as recipe_of
from kriptik.data.transcripts import Transcripts
from kriptik.data.voices import Voices
from kriptik.spec.catalogue import Point
from kriptik.spec.data import DataReport, Transcript
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import ModelRef, Stage, StageSettings, TrainJob

app = typer.Typer(no_args_is_help=True, help="Look at data as training sees it.")
console = Console()
STYLES = {"context": DIM, "learnt": SIGNAL, "end": HOLD, "looked at": HOLD}
MARKS = {"learnt": ("⟦", "⟧"), "end": ("⟦", "⟧"), "looked at": ("⟪", "⟫")}
"""Around what counts, where there are no colours."""
SMALLEST = "HuggingFaceTB/SmolLM2-135M-Instruct"
LIMIT_S = 180


@app.callback()
def data() -> None:
    """Look at data as training sees it."""


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="A data file, a run's id, or 'last'.")] = "last",
    model: Annotated[str, typer.Option(help="Whose tokens to show a file in.")] = SMALLEST,
    method: Annotated[str, typer.Option(help="How a file would be trained on.")] = "lora",
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = PREVIEW,
    stage: Annotated[int, typer.Option(min=1, help="Which stage of a run.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Print rows token by token kind: what is learnt, what is only read, where a turn ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(what).expanduser()
        job = _job_of_file(path, model, method, Path(folder)) if path.is_file() else _job_of_run(what)
        if not 1 <= stage <= len(job.stages):
            raise KriptikError("no_such_stage", f"This run has {len(job.stages)} stages.", "Give --stage a number among them.")
        lines = _ask(job, stage - 1, rows, Path(folder))
    if as_json:
        console.print_json(data=lines)
        return
    for line in lines:
        console.print(_written(line))
    console.print(_legend(lines))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A data file.")],
    fix: Annotated[list[str] | None, typer.Option(help="A fix to try, as a finding offers it; several times.")] = None,
    capability: Annotated[str | None, typer.Option(help="What it shall train, for example chat.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Examine a data file: what is wrong in which rows, and what can be done about it. Nothing is changed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = PrepareSettings(fixes=_known(fix or []))
        report = examine(file, name=file.name, work=Path(folder), settings=settings, capability=capability, forgive=True).report
    if as_json:
        console.print_json(data=report.document())
    else:
        console.print(report_view(report))
    if not report.ready:
        raise typer.Exit(1)


@app.command(name="fix")
def write_fixed(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A data file.")],
    folder: Annotated[Path, typer.Argument(help="Where to write train.jsonl, eval.jsonl and recipe.json.")],
    fix: Annotated[list[str] | None, typer.Option(help="A fix to apply, as a finding offers it; several times.")] = None,
    recipe: Annotated[Path | None, typer.Option(exists=True, help="A recipe.json whose steps to repeat.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which rows are held out.")] = 0,
) -> None:
    """Write the rows as they would be trained on. The same file and recipe give the same bytes."""
    settings, words = PrepareSettings(fixes=_known(fix or [])), Transcripts()
    if recipe is not None:
        steps = json.loads(recipe.read_text("utf-8"))
        settings, seed = PrepareSettings.model_validate(steps["settings"]), int(steps["seed"])
        told = {clip: Transcript.model_validate(one) for clip, one in steps.get("transcripts", {}).items()}
        words = Transcripts(told, voices=Voices(other=steps.get("other_voices", [])))
        if recipe_of(seed, settings.document())["libraries"] != steps["libraries"]:
            console.print(
                Text("The recipe was made with other versions of the checking libraries: the bytes may differ.", style=HOLD)
            )
    made = prepare(file, folder, name=file.name, seed=seed, settings=settings, transcripts=words)
    console.print(report_view(made.report))
    console.print(Text(f"recipe {made.recipe_sha256[:16]}  train.jsonl {made.train_sha256[:16]}", style=DIM))


def report_view(report: DataReport) -> Text:
    """A report for the terminal: the amount, then the findings, the worst first."""
    view = Text(f"{report.usable:,} of {report.rows:,} rows can be used ({report.kind}). {report.sufficiency.sentence}\n")
    styles = {"error": FAULT, "warning": HOLD, "info": DIM}
    for finding in report.findings:
        view.append(f"\n{finding.severity:8}", style=styles[finding.severity])
        view.append(finding.sentence)
        if finding.fix:
            view.append(f"  --fix {finding.fix}", style=SIGNAL)
        for one in finding.examples[:2]:
            where = f"{one.file} " if one.file else ""
            column = f", {one.column}" if one.column else ""
            view.append(f"\n          {where}row {one.row}{column}: {one.text[:100]}", style=DIM)
            if one.after is not None:
                view.append(f"\n          → {one.after[:100]}", style=DIM)
    return view.append("\n")


def _known(fixes: list[str]) -> list[str]:
    if unknown := sorted(set(fixes) - FIXES):
        raise KriptikError("unknown_fix", f"There is no fix called '{unknown[0]}'.", f"Known ones: {', '.join(sorted(FIXES))}.")
    return fixes


def _ask(job: TrainJob, stage: int, rows: int, folder: Path) -> list[dict[str, Any]]:
    """The engine's answer, from a process of its own: the command line loads no model library."""
    file = folder / "job.json"
    file.write_text(job.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "kriptik.engine.masks", str(file), str(stage), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        try:
            told = json.loads(done.stderr.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise KriptikError("engine_failed", "The rows could not be encoded.", "Run the command again with --json.") from error
        raise KriptikError(told["code"], told["sentence"], told["nextStep"])
    return [json.loads(line) for line in done.stdout.splitlines()]


def _job_of_run(what: str) -> TrainJob:
    client = Client()
    found = client.get("/jobs")["jobs"] if what == "last" else []
    if what == "last" and not found:
        raise KriptikError("no_runs", "There is no run yet.", "Give a data file, or start a run first.")
    job = client.get(f"/jobs/{max(found, key=lambda row: row['createdAt'])['id'] if what == 'last' else what}")
    files = sorted((Path(job["runDir"]) / "jobs").glob("g*.json"), key=lambda one: int(one.stem[1:]))
    if not files:
        raise KriptikError("not_started", "This run has not started on this machine.", "Give the data file instead.")
    return TrainJob.model_validate_json(files[-1].read_bytes())


def _job_of_file(path: Path, model: str, method: str, folder: Path) -> TrainJob:
    """A job that would train on a file. Raises DataError for what is no data."""
    known = load_catalogue().methods.get(method)
    if known is None:
        raise KriptikError("no_such_method", f"There is no method called '{method}'.", "`kriptik methods` lists them.")
    found = prepare(path, folder / "made", name=path.name, settings=PrepareSettings(eval_fraction=0))
    objective = known.stages[-1].objective or "causal_lm"
    stage = Stage(
        index=0, name=method, method=method, point=Point(objective=objective), settings=StageSettings.model_validate(known.defaults)
    )
    return TrainJob(
        job_id="show",
        generation=1,
        run_dir=str(folder),
        cache_dir=str(kriptik_home() / "cache"),
        capability="text_generation",
        base_model=ModelRef(id=model),
        stages=[stage],
        data=found.ref(),
    )


def _written(line: dict[str, Any]) -> Text:
    """One document in colours; with marks around what counts where there are none."""
    text = Text(f"row {line['row'] + 1}{', ' + line['name'] if line['name'] else ''}  ", style=DIM)
    for part in line["parts"]:
        before, after = MARKS.get(part["kind"], ("", "")) if console.color_system is None else ("", "")
        shown = part["text"].replace("\n", "⏎\n") if part["kind"] == "end" else part["text"]
        text.append(before + shown + after, style=STYLES[part["kind"]])
    if line["cut"]:
        text.append(f"  {line['cut']} tokens cut off", style=FAULT)
    return text


def _legend(lines: list[dict[str, Any]]) -> Text:
    count = dict.fromkeys(STYLES, 0)
    for line in lines:
        for part in line["parts"]:
            count[part["kind"]] += part["tokens"]
    text = Text("\n")
    for kind, style in STYLES.items():
        if count[kind]:
            before, after = MARKS.get(kind, ("", "")) if console.color_system is None else ("", "")
            text.append(f"{before}{kind}{after} {count[kind]} tokens   ", style=style)
    return text
