"""Reads the requests with expected fields and scores the parser on them.

A line is `prompt ||| key=value;…`. Flags: no (no request to train), ask (needs clarification), conflict, cpu. The rest in KEYS;
`amt` with `cur` is a sum in another currency, turned into `usd` by the catalogue's rates.
"""

import re
from collections import Counter
from pathlib import Path

from kriptik.catalogue.load import load_catalogue

MAKERS = r"^(?:nvidia|geforce|quadro|amd|rtx|gtx|rx)+"
"""Before the name of a card, and left out as often as not; so is its memory."""
FLAGS = {"no", "ask", "conflict", "cpu"}
KEYS = (
    "cap",
    "tier",
    "bar",
    "base",
    "m",
    "x",
    "usd",
    "cur",
    "h",
    "gpu",
    "n",
    "vram",
    "prov",
    "dt",
    "da",
    "ds",
    "df",
    "exp",
    "lang",
    "dev",
    "maxp",
    "maxgb",
    "ms",
    "lic",
)


def rows(name):
    """(prompt, expected fields, whether in another language than English) of a data file beside this module.

    A line "## other" or "## english" says which language the lines below it are in.
    """
    other = False
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("##"):
            other = line == "## other"
        elif not line.startswith("#"):
            prompt, _, fields = line.partition("|||")
            pairs = dict(f.split("=", 1) if "=" in f else (f, True) for f in fields.strip().split(";"))
            amount = pairs.pop("amt", None)
            if amount is not None:
                pairs["usd"] = str(float(amount) * float(load_catalogue().currencies[pairs["cur"]].usd_per_unit))
            assert set(pairs) <= FLAGS | set(KEYS), line
            yield prompt.strip(), pairs, other


def flat(contract):
    """The batch view in the short keys of the data files."""
    hardware, data, output = (contract.get(k, {}) for k in ("hardware", "data", "output"))
    currency = contract.get("budget_currency")
    found = {
        "no": not contract["is_training_request"],
        "ask": contract.get("needs_clarification", False),
        "conflict": contract.get("conflict", False),
        "cpu": hardware.get("cpu_only", False),
        "cap": contract.get("capability"),
        "tier": contract.get("quality_tier"),
        "bar": contract.get("benchmark_model"),
        "base": contract.get("base_model"),
        "m": ",".join(sorted(contract.get("methods", []))),
        "x": ",".join(sorted(contract.get("excluded_methods", []))),
        "usd": contract.get("budget_max_usd"),
        "cur": None if currency == "USD" else currency,
        "h": contract.get("deadline_hours"),
        "gpu": hardware.get("gpu"),
        "n": hardware.get("count"),
        "vram": hardware.get("vram_gb"),
        "prov": contract.get("provider"),
        "dt": data.get("type"),
        "da": data.get("amount"),
        "ds": data.get("source"),
        "df": data.get("format"),
        "exp": output.get("export"),
        "lang": output.get("language"),
        "dev": output.get("target_device"),
        "maxp": output.get("max_params_b"),
        "maxgb": output.get("max_size_gb"),
        "ms": output.get("max_latency_ms"),
        "lic": output.get("license"),
    }
    return {k: v for k, v in found.items() if v is not None and v is not False and v != ""}


def same(key, expected, found):
    """Names by letters and digits, lists as sets, figures to a part in a hundred."""
    if expected is None or found is None or isinstance(expected, bool):
        return expected == found
    if key in ("usd", "h", "n", "vram", "da", "maxp", "maxgb", "ms"):
        return abs(float(expected) - float(found)) <= 0.01 * max(1.0, float(expected))
    if key in ("m", "x"):
        return set(expected.split(",")) == set(found.split(","))
    told, read = ("".join(filter(str.isalnum, str(one).lower())) for one in (expected, found))
    if key == "gpu":
        told, read = re.sub(MAKERS, "", told), re.sub(MAKERS, "", read)
        return told == read or told == re.sub(r"\d\dgb$", "", read)
    return told == read


def compare(expected, found):
    """(field, expected, found, right) of each field that counts: one expected or found, and whether it is a request."""
    for key in ("no", "cap", *(k for k in (*FLAGS, *KEYS) if k not in ("no", "cap"))):
        always = key == "no" or (key == "cap" and "no" not in expected)
        if always or key in expected or key in found:
            yield key, expected.get(key), found.get(key), same(key, expected.get(key), found.get(key))


def score(parser, name):
    """({field: (right, counted)}, [(prompt, field, expected, found)]).

    Beside the fields: `refused` (non-requests known as such), `other` and `other-cap` (all fields, and the capability alone, of
    requests that are not English).
    """
    right, counted, misses = Counter(), Counter(), []
    for prompt, expected, elsewhere in rows(name):
        found = flat(parser.parse(prompt).fields())
        for key, wanted, got, ok in compare(expected, found):
            names = [key]
            if key == "no" and wanted:
                names.append("refused")
            if elsewhere:
                names.append("other")
                if key == "cap":
                    names.append("other-cap")
            for each in names:
                counted[each] += 1
                right[each] += ok
            if not ok:
                misses.append((prompt, key, wanted, got))
    return {k: (right[k], counted[k]) for k in counted}, misses
