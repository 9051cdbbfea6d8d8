"""What a model is taught of rows, as text: `python -m kriptik.engine.masks job.json stage rows`, one JSON line a document.

The rows are encoded by the same code as in training, so that what is shown is what counts: `learnt` is predicted, `end` is a token
that ends a turn and is predicted, `context` is only read. Only the tokenizer is loaded.
"""

import json
import sys
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from kriptik.engine import pieces
from kriptik.engine.base import find_base
from kriptik.engine.text.forms import documents_of, encode_form
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import TrainJob


def main(argv: list[str]) -> int:
    """Prints the documents of the first rows; returns the exit code. What went wrong is the last line of standard error."""
    job = TrainJob.model_validate_json(Path(argv[0]).read_bytes())
    try:
        for line in shown(job, int(argv[1]), int(argv[2])):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    except KriptikError as error:
        sys.stderr.write(json.dumps({"code": error.code, "sentence": error.sentence, "nextStep": error.next_step}) + "\n")
        return 1
    return 0


def shown(job: TrainJob, stage: int, count: int) -> list[dict[str, Any]]:
    """The first `count` training rows of a stage: row, name of the document, parts in order, tokens cut off."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_base(job).folder, trust_remote_code=False)
    settings, point = job.stages[stage].settings, job.stages[stage].point
    form = pieces.objective(point.objective or "causal_lm").form
    assert job.data is not None
    with Path(job.data.train_path).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice((line for line in lines if line.strip()), count)]
    found = []
    for number, row in enumerate(rows):
        documents = documents_of(encode_form(tokenizer, row, number, form, settings.max_seq_len))
        for place, document in enumerate(documents):
            name = ("chosen", "rejected")[place] if "chosen" in row and len(documents) == len(("chosen", "rejected")) else ""
            parts = parts_of(tokenizer, document)
            found.append({"row": number, "name": name, "form": form, "cut": document.get("cut", 0), "parts": parts})
    return found


def parts_of(tokenizer: Any, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs of tokens of one kind: kind, text, how many. Scored documents have one `looked at` token instead of learnt ones."""
    ids, learnt, at = document["ids"], document["learnt"], set(document.get("at", ()))
    ends = {tokenizer.eos_token_id, *turn_ends(tokenizer)}

    def kind(place: int) -> str:
        if place in at:
            return "looked at"
        if place == 0 or not learnt[place]:  # nothing comes before the first token: it is never predicted
            return "context"
        return "end" if ids[place] in ends else "learnt"

    parts = []
    for name, places in groupby(range(len(ids)), kind):
        tokens = [ids[place] for place in places]
        parts.append({"kind": name, "text": tokenizer.decode(tokens), "tokens": len(tokens)})
    return parts


def turn_ends(tokenizer: Any) -> list[int]:
    """Special tokens that chat templates end a turn with."""
    known = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<|endoftext|>")
    return [number for name, number in tokenizer.get_added_vocab().items() if name in known]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
