"""A report as Markdown and as one self-contained HTML page: no scripts, no outside requests, every text escaped."""

from html import escape

from kriptik.spec.report import RunReport

STYLE = """
:root{color-scheme:dark light}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1.25rem;background:#0e1116;color:#e6e9ef}
h1{font-size:1.7rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem;color:#5ee0c4}
.quiet{color:#a3adba}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.45rem .8rem .45rem 0;border-bottom:1px solid #2a313c}
th{font-weight:500;color:#a3adba;width:14rem}.answers td{width:50%;white-space:pre-wrap}
.drop{font-size:2.2rem;font-variant-numeric:tabular-nums}
@media(prefers-color-scheme:light){body{background:#fff;color:#16181d}h2{color:#0b6b58}.quiet,th{color:#55606e}td,th{border-color:#dde2e8}}
@media print{body{background:#fff;color:#16181d;margin:0 auto}h2{color:#0b6b58}.quiet,th{color:#55606e}td,th{border-color:#dde2e8}}
@media(max-width:40rem){th{width:auto}.answers td{display:block;width:auto}}
"""


def markdown(report: RunReport) -> str:
    """The report as Markdown."""
    lines = [f"# {_plain(report.name)}", "", f"> {_plain(report.prompt)}", ""]
    if loss := _loss(report):
        lines += [loss, ""]
    lines += [f"- {result.sentence}" for result in report.criteria]
    lines += ["", "| | |", "|---|---|"] + [f"| {name} | {_plain(value)} |" for name, value in _facts(report)]
    lines += ["", *(f"**Note.** {note}\n" for note in report.notes)]
    if report.side_by_side:
        lines += ["## Base and tuned, on held-out questions (answers as they are)", ""]
    for pair in report.side_by_side:
        lines += [f"**{_plain(pair.prompt)}**", "", f"- base: {_plain(pair.base)}", f"- tuned: {_plain(pair.tuned)}"]
        lines += [f"- expected: {_plain(pair.expected)}", ""] if pair.expected else [""]
    return "\n".join(lines).rstrip() + "\n"


def html(report: RunReport) -> str:
    """The report as a page."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(report))
    criteria = "".join(f"<li>{escape(result.sentence)}</li>" for result in report.criteria)
    notes = "".join(f"<p class=quiet>{escape(note)}</p>" for note in report.notes)
    pairs = "".join(
        f"<h3>{escape(pair.prompt)}</h3><table class=answers><tr><th>base</th><th>tuned</th></tr>"
        f"<tr><td>{escape(pair.base)}</td><td>{escape(pair.tuned)}</td></tr></table>"
        + (f"<p class=quiet>expected: {escape(pair.expected)}</p>" if pair.expected else "")
        for pair in report.side_by_side
    )
    loss = report.held_out_loss
    head = f"<p class=drop>{loss.before:.3f} → {loss.after:.3f}</p>" if loss else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(report.name)}</title><style>{STYLE}</style><main><h1>{escape(report.name)}</h1>"
        f"<p class=quiet>{escape(report.prompt)}</p>{head}<p>{escape(_loss(report))}</p><ul>{criteria}</ul>{notes}"
        f"<h2>Facts</h2><table>{rows}</table>"
        + (f"<h2>Base and tuned, on held-out questions</h2><p class=quiet>Answers as they are.</p>{pairs}" if pairs else "")
        + "</main></html>\n"
    )


def _loss(report: RunReport) -> str:
    loss = report.held_out_loss
    if loss is None:
        return "Held-out loss was not measured before and after in this run."
    low, high = loss.interval
    moved = "down" if loss.relative_drop >= 0 else "up"
    return (
        f"Held-out loss {loss.before:.3f} → {loss.after:.3f}: {moved} {abs(loss.relative_drop):.1%} "
        f"({loss.confidence:.0%} interval {low:.1%} to {high:.1%}; {loss.method}, {loss.rows} rows, {loss.tokens:,} tokens)."
    )


def _facts(report: RunReport) -> list[tuple[str, str]]:
    data = report.data
    facts = [
        ("State", report.state.value.replace("_", " ")),
        ("Base model", report.base_model),
        ("Method", report.method),
        ("Spent", f"${report.spend_usd:.4f} of ${report.max_budget_usd:.2f}"),
        ("Estimated cost", f"${report.estimated_cost_usd[0]:.4f} to ${report.estimated_cost_usd[1]:.4f}"),
        ("Time", f"{report.actual_hours * 60:.1f} min of compute; training itself {report.train_seconds:.0f} s"),
        ("Estimated time", f"{report.estimated_hours[0] * 60:.1f} to {report.estimated_hours[1] * 60:.1f} min"),
        ("Speed", f"{report.tokens_per_second:.0f} tokens/s over {report.tokens:,} tokens"),
        ("Freezes, generations", f"{report.freezes}, {report.generations}"),
    ]
    if data:
        rows = f"{data['trainRows']} rows trained on, {data['heldOutRows']} held out, {data['overlapRows']} in both"
        facts.append(("Data", f"{data['source']} ({data['licence'] or 'no licence stated'}): {rows}"))
    return facts + [(name.capitalize(), path) for name, path in report.artefacts.items()]


def _plain(text: str) -> str:
    """One line that Markdown cannot take for anything else."""
    one = " ".join(text.split())
    return "".join("\\" + c if c in r"\`*_{}[]#|" else c for c in one).replace("<", "&lt;")
