# ruff: noqa: E501
"""Ways to damage a row, one per kind of finding. Each takes (chance, row, rows, pool) and gives the damaged row, or rows to add.

`pool` halves every list of phrases: tuning saw the one, the published figures come from the other.
"""

import json
import string

LETTERS = string.ascii_lowercase
REFUSALS = (
    ("I'm sorry, but I can't help with that.", "I cannot provide an answer to this question.", "As an AI, I am not able to answer that.",
     "I apologize, but I cannot fulfil this request.", "Sorry, I can't assist with that request.", "Unfortunately, I am unable to help you here."),
    ("I'm really sorry, but I'm unable to discuss this topic.", "I am not able to provide that kind of information.",
     "I regret, but I cannot comment on this.", "As a large language model, I cannot make recommendations like that.",
     "I'm sorry, I won't be able to continue this conversation, as I cannot do so.", "Unfortunately, I cannot comply with this."),
)  # fmt: skip
TALK = (
    ("As an AI language model, my view on this is limited. ", "I am an AI assistant, so please check this. ", "Based on my training data, "),
    ("I was trained by OpenAI, but here is the answer. ", "As an artificial intelligence assistant I would say: ", "As of my last update, "),
)
PLACEHOLDERS = (
    ("[Your Name]", "[insert address here]", "{{customer_name}}", "lorem ipsum dolor sit amet", "[Company Name]"),
    ("[date and time]", "<insert phone number>", "{{ order.id }}", "TODO", "[Customer Name]", "[Link to product]"),
)
MARKUP = (
    ("<|im_end|>", "</s>", "[INST]", "<|eot_id|>", "### Response:"),
    ("<|endoftext|>", "<s>", "[/INST]", "<end_of_turn>", "<|assistant|>", "### Instruction:"),
)
TAGS = (("<p>{}</p>", "<b>{}</b>", "{}<br><br>", "<div class=\"answer\">{}</div>"), ("<span style='color:red'>{}</span>", "<li>{}</li>", "{}&nbsp;", "<em>{}</em>"))
NULLS = (("nan", "null", "N/A"), ("NaN", "None", "#N/A", "[deleted]", "undefined"))
FOREIGN = (
    ("Wir bieten Ihnen dafür eine kostenlose Beratung an und erstellen danach ein Angebot.", "Vous pouvez nous appeler tous les jours de la semaine entre huit heures et dix-huit heures.",
     "Puede llamarnos cualquier día de la semana y le responderemos lo antes posible."),
    ("Potete scriverci in qualsiasi momento e vi risponderemo entro due giorni lavorativi.", "Można do nas zadzwonić w każdy dzień roboczy, a odpowiemy tak szybko, jak to możliwe.",
     "U kunt ons elke werkdag bellen en wij geven u dan zo snel mogelijk antwoord op uw vraag.", "Вы можете позвонить нам в любой рабочий день, и мы ответим как можно скорее."),
)  # fmt: skip
SPEAKERS = ((("User", "Assistant"), ("Human", "AI")), (("Customer", "Agent"), ("user", "bot")))
MASS = "Our whole team wishes you a pleasant day and remains at your service."
TASKS = "HumanEval"
BENCHMARK: list[str] = []
"""Texts of benchmark tasks, filled in by the bench."""


def said(row, text):
    return {**row, "completion": text}


def words(chance, count):
    return " ".join("".join(chance.choices(LETTERS, k=chance.randint(4, 9))) for _ in range(count))


def into(chance, text, piece):
    """The piece between two words of the text."""
    parts = text.split(" ")
    at = chance.randint(0, len(parts))
    return " ".join([*parts[:at], piece, *parts[at:]])


def inside(chance, text, piece):
    """The piece between two words, never at an end (where blanks are trimmed anyway)."""
    parts = text.split(" ") if text.count(" ") else [text, text]
    at = chance.randint(1, len(parts) - 1)
    return " ".join([*parts[:at], piece, *parts[at:]])


def cut(chance, row, rows, pool):
    """Running text that is ended in the middle of a sentence; where an answer has none, another's is set below it."""
    before, _, last = row["completion"].rpartition("\n")
    while len(last) < 130 or last[0] in "-*#>|`1234567890" or "`" in row["completion"]:
        other = chance.choice(rows)["completion"]
        before, last = row["completion"].replace("`", "") + "\n", other.rpartition("\n")[2]
        row = {**row, "completion": row["completion"].replace("`", "")}
    stops = [at for at in range(90, len(last) - 4) if last[at].isalpha() and last[at - 12 : at].count(".") == 0]
    end = chance.choice(stops) if stops else 100
    return said(row, f"{before}\n{last[: end + 1]}".strip())


def luhn_card(chance):
    digits = [4, *(chance.randint(0, 9) for _ in range(14))]
    total = sum(d if place % 2 else (d * 2 - 9 if d > 4 else d * 2) for place, d in enumerate(digits))
    full = "".join(map(str, digits)) + str(-total % 10)
    return chance.choice([full, " ".join(full[at : at + 4] for at in range(0, 16, 4)), "-".join(full[at : at + 4] for at in range(0, 16, 4))])


def iban(chance):
    bban = "".join(chance.choices(string.digits, k=18))
    check = 98 - int(bban + "131400") % 97
    full = f"DE{check:02d}{bban}"
    return chance.choice([full, " ".join(full[at : at + 4] for at in range(0, 22, 4))])


def personnummer(chance):
    nine = f"{chance.randint(40, 99)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}{chance.randint(0, 999):03d}"
    total = sum(d if place % 2 else (d * 2 - 9 if d > 4 else d * 2) for place, d in enumerate(map(int, nine)))
    return f"{nine[:6]}-{nine[6:]}{-total % 10}"


def phone(chance):
    tail = "".join(chance.choices(string.digits, k=7))
    return chance.choice([f"+46 70 {tail[:3]} {tail[3:5]} {tail[5:]}", f"+44 20 7946 {tail[:4]}", f"070-{tail[:3]} {tail[3:5]} {tail[5:]}", f"(415) 555-{tail[:4]}", f"+1 212 555 {tail[:4]}"])


def email(chance):
    return f"{words(chance, 1)}.{words(chance, 1)}@{words(chance, 1)}.{chance.choice(['com', 'se', 'co.uk', 'org'])}"


def key(chance):
    body = "".join(chance.choices(string.ascii_letters + string.digits, k=36))
    return chance.choice([f"AKIA{body[:16].upper()}", f"ghp_{body}", f"sk-{body}", f"hf_{body}", f"xoxb-{body[:12]}-{body[12:24]}"])


def mojibake(chance, text):
    odd = chance.choice(["för", "café", "naïve", "it’s", "“so”", "Größe", "señor"])
    return into(chance, text, odd.encode().decode("cp1252", "replace" if False else "ignore"))


def near(chance, row, rows, pool):
    parts = row["completion"].split()
    if len(parts) < 25:
        parts = (row["completion"] + " " + chance.choice(rows)["completion"]).split()
        row.update(completion=" ".join(parts))
    at = chance.randrange(len(parts))
    return [{**row, "completion": " ".join([*parts[:at], "really", *parts[at + 1 :]])}]


def pick(chance, options, pool):
    return chance.choice(options[pool])


def said_in(make):
    """A damage that puts something into the answer."""
    return lambda chance, row, rows, pool: said(row, into(chance, row["completion"], make(chance)))


PAIRS = {
    "broken JSON": ("unreadable_rows", lambda c, r, rows, p: json.dumps(r)[: -c.randint(2, 12)]),
    "missing column": ("unreadable_rows", lambda c, r, rows, p: {"prompt": r["prompt"]}),
    "wrong type": ("unreadable_rows", lambda c, r, rows, p: {**r, c.choice(["prompt", "completion"]): {"a": 1}}),
    "empty answer": ("empty_answer", lambda c, r, rows, p: said(r, c.choice(["", "  ", "\n", None]))),
    "empty question": ("empty_question", lambda c, r, rows, p: {**r, "prompt": c.choice(["", " ", "\t"])}),
    "null answer": ("null_answer", lambda c, r, rows, p: said(r, pick(c, NULLS, p))),
    "answer without words": ("wordless_answer", lambda c, r, rows, p: said(r, c.choice(["...", "-", "?!", "—", "***", ".", "_"]))),
    "exact duplicate": ("duplicates", lambda c, r, rows, p: [dict(r)]),
    "near-duplicate": ("near_duplicates", near),
    "conflicting answer": ("conflicting_answers", lambda c, r, rows, p: [said(r, c.choice([o for o in rows if o["prompt"] != r["prompt"]])["completion"])]),
    "one answer to many questions": ("boilerplate", lambda c, r, rows, p: said(r, MASS)),
    "echoed question": ("echoes", lambda c, r, rows, p: said({**r, "prompt": (q := r["prompt"] if len(r["prompt"]) > 20 else r["prompt"] + " Please tell me.")}, c.choice([q, q.lower(), q.rstrip("?."), q.upper()]))),
    "mojibake": ("damaged_text", lambda c, r, rows, p: said(r, mojibake(c, r["completion"]))),
    "replacement marks": ("damaged_text", lambda c, r, rows, p: said(r, into(c, r["completion"], "f\ufffdr"))),
    "control characters": ("control_characters", lambda c, r, rows, p: said(r, into(c, r["completion"], c.choice(["\x00", "\x07", "\x1b[0m", "\x0c", "\x08"])))),
    "invisible marks": ("control_characters", lambda c, r, rows, p: said(r, into(c, r["completion"], c.choice(["\u200b", "\ufeff", "\u202e", "\u2066"])))),
    "HTML tags": ("html_remnants", lambda c, r, rows, p: said(r, pick(c, TAGS, p).format(r["completion"]))),
    "HTML entities": ("html_remnants", lambda c, r, rows, p: said(r, into(c, r["completion"], c.choice(["&amp;", "&quot;so&quot;", "&#39;", "&lt;", "&auml;", "&nbsp;"])))),
    "chat template tokens": ("chat_markup", lambda c, r, rows, p: said(r, r["completion"] + pick(c, MARKUP, p) if c.random() < 0.5 else into(c, r["completion"], pick(c, MARKUP, p)))),
    "conversation in one field": ("speaker_labels", lambda c, r, rows, p: said(r, f"{r['completion']}\n{(s := pick(c, SPEAKERS, p))[0]}: {c.choice(rows)['prompt']}\n{s[1]}: {c.choice(rows)['completion']}")),
    "refusal": ("refusals", lambda c, r, rows, p: said(r, pick(c, REFUSALS, p) + c.choice(["", " Is there something else?", " Please ask an expert.", " Thank you for your understanding."]))),
    "model talk": ("model_talk", lambda c, r, rows, p: said(r, pick(c, TALK, p) + r["completion"])),
    "placeholder": ("placeholders", lambda c, r, rows, p: said(r, into(c, r["completion"], pick(c, PLACEHOLDERS, p)))),
    "cut off": ("cut_off", cut),
    "escaped text": ("escaped_text", lambda c, r, rows, p: said(r, c.choice([r["completion"].replace("\n", " ").replace(". ", ".\\n") + "\\n", json.dumps(r["completion"].replace("\n", " ").replace("a", "ä", 1) + " ä é")[1:-1]]))),
    "odd spacing": ("odd_spacing", lambda c, r, rows, p: said(r, c.choice([lambda t: " ".join(t[:60].replace(" ", "")) + t[60:], lambda t: inside(c, t, " " * c.randint(15, 40)), lambda t: inside(c, t, "\n" * c.randint(8, 20))])(r["completion"]))),
    "repetition": ("repetitive", lambda c, r, rows, p: said(r, " ".join([" ".join(r["completion"].split()[: c.randint(4, 15)])] * c.randint(6, 20)))),
    "gibberish": ("gibberish", lambda c, r, rows, p: said(r, c.choice([words(c, c.randint(8, 30)), "".join(c.choices(string.ascii_letters + string.digits, k=c.randint(120, 300)))]))),
    "open code block": ("open_code", lambda c, r, rows, p: said(r, r["completion"] + "\n```" + c.choice(["python", "", "bash"]) + "\nprint(1)\n")),
    "other language": ("other_language", lambda c, r, rows, p: said(r, pick(c, FOREIGN, p) + " " + pick(c, FOREIGN, p)[:0])),
    "e-mail address": ("personal_data", said_in(email)),
    "phone number": ("personal_data", said_in(phone)),
    "card number": ("personal_data", said_in(luhn_card)),
    "IBAN": ("personal_data", said_in(iban)),
    "personal number": ("personal_data", said_in(personnummer)),
    "secret key": ("secrets", said_in(key)),
    "longer than the window": ("too_long", lambda c, r, rows, p: said(r, " ".join(c.choice(rows)["completion"] for _ in range(60)))),
    "question fills the window": ("answer_cut_away", lambda c, r, rows, p: {**r, "prompt": " ".join(c.choice(rows)["completion"] for _ in range(60)) + "?"}),
    "outlier length": ("outlier_length", lambda c, r, rows, p: said(r, " ".join(c.choice(rows)["completion"] for _ in range(120)))),
    "benchmark task": ("contaminated", lambda c, r, rows, p: {**r, "prompt": "Complete this function.", "completion": c.choice(BENCHMARK)}),
}  # fmt: skip
"""Of questions with answers: kind → (code of the finding, damage)."""

SWAPPED = {"question and answer swapped": ("swapped_sides", lambda c, r, rows, p: {"prompt": r["completion"].rstrip("?"), "completion": r["prompt"]})}
"""Only of data in which questions end with a question mark."""


def turns(row):
    return list(row["messages"])


CHATS = {
    "system message in the middle": ("system_not_first", lambda c, r, rows, p: {"messages": [*turns(r)[:2], {"role": "system", "content": "Be brief."}, *turns(r)[2:]]}),
    "answer before any question": ("leading_answer", lambda c, r, rows, p: {"messages": [turns(r)[1], *turns(r)]}),
    "two questions in a row": ("joined_turns", lambda c, r, rows, p: {"messages": [turns(r)[0], {"role": "user", "content": "And please be quick."}, *turns(r)[1:]]}),
    "question without answer": ("trailing_question", lambda c, r, rows, p: {"messages": [*turns(r), {"role": "user", "content": "And then?"}]}),
    "no answer at all": ("no_answer", lambda c, r, rows, p: {"messages": [t for t in turns(r) if t["role"] == "user"][:1]}),
    "no question at all": ("no_question", lambda c, r, rows, p: {"messages": [t for t in turns(r) if t["role"] == "assistant"]}),
    "unknown role": ("unreadable_rows", lambda c, r, rows, p: {"messages": [{**turns(r)[0], "role": c.choice(["poet", "narrator", ""])}, *turns(r)[1:]]}),
    "content missing": ("unreadable_rows", lambda c, r, rows, p: {"messages": [{"role": "user"}, *turns(r)[1:]]}),
    "nothing weighted": ("nothing_learnt", lambda c, r, rows, p: {"messages": [{**t, "weight": 0} if t["role"] == "assistant" else t for t in turns(r)]}),
    "broken tool call": ("bad_tool_call", lambda c, r, rows, p: {"messages": [turns(r)[0], {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q": '}}]}, {"role": "tool", "content": "{}", "tool_call_id": "1"}, turns(r)[1]]}),
    "tool answer without a call": ("bad_tool_call", lambda c, r, rows, p: {"messages": [turns(r)[0], {"role": "tool", "content": "{}", "tool_call_id": "1"}, *turns(r)[1:]]}),
}  # fmt: skip

PREFERENCES = {
    "identical sides": ("same_answers", lambda c, r, rows, p: {**r, "rejected": r["chosen"]}),
    "nearly identical sides": ("nearly_same_answers", lambda c, r, rows, p: {**r, "rejected": c.choice([r["chosen"] + "!", r["chosen"].replace(" ", "  ", 3), into(c, r["chosen"], "too") if len(r["chosen"]) > 100 else r["chosen"] + " ."])}),
    "swapped pair (scores)": ("swapped_pairs", lambda c, r, rows, p: {**r, "chosen": r["rejected"], "rejected": r["chosen"], "score_chosen": r["score_rejected"], "score_rejected": r["score_chosen"]}),
    "contradicting pair": ("contradicting_pairs", lambda c, r, rows, p: [{**r, "chosen": r["rejected"], "rejected": r["chosen"]}]),
    "refusal preferred": ("refusal_preferred", lambda c, r, rows, p: {**r, "chosen": pick(c, REFUSALS, p)}),
    "empty preferred answer": ("empty_answer", lambda c, r, rows, p: {**r, "chosen": c.choice(["", "  "])}),
}  # fmt: skip

MARKS = {
    "contradicting marks": ("contradicting_marks", lambda c, r, rows, p: [{**r, "label": not r["label"]}]),
    "mark that is none": ("unreadable_rows", lambda c, r, rows, p: {**r, "label": c.choice(["maybe", 7, "x"])}),
    "empty marked answer": ("empty_answer", lambda c, r, rows, p: said(r, "")),
}  # fmt: skip
