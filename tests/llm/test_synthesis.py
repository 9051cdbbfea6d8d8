"""Rows made out of documents and answers, over real HTTP with a host on the loopback that answers in the real wire format."""

import json
from decimal import Decimal

import pytest
from docx import Document
from model_host import model_host

from kriptik.data.synthesis.asking import Maker, compared, forecast
from kriptik.data.synthesis.documents import read_passages
from kriptik.data.synthesis.labelling import Labelling
from kriptik.llm.compatible import Compatible
from kriptik.llm.purse import Paid, Prices, Purse
from kriptik.spec.errors import BadInputError, DataError
from kriptik.spec.llm import NoAnswerError
from kriptik.spec.making import Label

ROOF = (
    "A roof of clay tiles lasts about sixty years when it is inspected every second spring. The ridge is the first part to leak. "
    "Moss should be brushed off dry, never washed away with high pressure, since water is pressed under the tiles."
)
PAINT = (
    "Outside walls are painted between May and September. The wood has to be dry: below fifteen percent of water, measured at "
    "three places. Two thin coats of linseed oil paint hold longer than one thick coat, and the second follows after two days."
)


def pdf_of(path, pages):
    """A PDF with one line of text a page, written by hand as ISO 32000 describes."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for said in pages:
        lines = [said[at : at + 90] for at in range(0, len(said), 90)]
        stream = "BT /F1 10 Tf 40 780 Td 12 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects += [f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"]
        resources = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        kids.append(len(objects) + 1)
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R /Resources {resources} >>"
        objects.append(page)
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{one} 0 R' for one in kids)}] >>"
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\n"
    path.write_bytes(made + end.encode() + f"startxref\n{len(made)}\n%%EOF\n".encode())
    return path


def documents(folder):
    word = Document()
    word.add_heading("Roofs", 1)
    word.add_paragraph(ROOF)
    word.add_heading("Paint", 1)
    word.add_paragraph(PAINT)
    word.save(str(folder / "guide.docx"))
    nav, tail = "<nav>Home and away, the menu of this page</nav>", "<script>let x = 'never read this';</script>"
    html = f"<html><body>{nav}<main><h1>Roofs</h1><p>{ROOF}</p><h2>Paint</h2><p>{PAINT}</p></main>{tail}</body></html>"
    (folder / "guide.html").write_text(html, "utf-8")
    (folder / "guide.md").write_text(f"# Roofs\n\n{ROOF}\n\n## Paint\n{PAINT}\n", "utf-8")
    pdf_of(folder / "guide.pdf", [ROOF, PAINT])


@pytest.mark.parametrize("kind", ["docx", "html", "md", "pdf"])
def test_passages_have_their_words_and_their_place(tmp_path, kind):
    documents(tmp_path)
    found = list(read_passages(tmp_path / f"guide.{kind}", f"guide.{kind}"))
    flat = " ".join(" ".join(one.text.split()) for one in found)
    assert "lasts about sixty years" in flat and "Two thin coats" in flat and "never read this" not in flat and "menu" not in flat
    if kind == "pdf":
        assert found[0].page == 1
    else:
        assert [one.heading for one in found] == ["Roofs", "Paint"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pdf", b"%PDF-1.4 nothing of it", "bad_document"),
        ("a.docx", b"PK\x03\x04 torn", "bad_document"),
        ("a.md", b"# Only a heading\n", "document_without_text"),
        ("a.txt", b"\x89\x00\x01PNG\x02\xff" * 50, "bad_document"),
        ("a.exe", b"MZ", "unsupported_document"),
    ],
)
def test_what_is_no_document_is_said(tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        list(read_passages(tmp_path / name, name))
    assert refused.value.code == code and refused.value.next_step


def pair(question, answer, quote):
    return {"question": question, "answer": answer, "quote": quote}


def maker_on(host):
    return Maker(Compatible("small", host.url, timeout_s=20), "small")


def test_questions_rest_on_the_passage_and_say_where_they_came_from(tmp_path):
    documents(tmp_path)
    passages = list(read_passages(tmp_path / "guide.md", "guide.md"))
    good = pair("How long does a roof of clay tiles last?", "About sixty years.", "lasts about sixty years")
    roof = [
        good,
        pair("What does a roof cost?", "It costs 20,000.", "twenty thousand in all"),
        pair("What does the passage say of moss?", "It should be brushed off dry.", "Moss should be brushed off dry"),
        pair("Which part leaks first?", "I'm sorry, but I can't help with that.", "The ridge is the first part to leak"),
        pair("How long does a roof of clay tiles last?", "Sixty years or so.", "lasts about sixty years"),
    ]
    paint = [pair("When are walls painted?", "Between May and September.", "painted between May and September"), "not a pair"]
    with model_host() as host:
        host.replies += [json.dumps({"pairs": roof}), json.dumps({"pairs": paint})]
        made = maker_on(host).from_passages(passages, 5, 10)
        sent = host.asked[0][2]["messages"]
    assert [row["completion"] for row in made.rows] == ["About sixty years.", "Between May and September."]
    assert made.rejected == {"not_in_the_passage": 1, "talks_of_the_source": 1, "refusal": 1, "repeated": 1}
    origin = made.rows[0]["provenance"]
    assert origin["file"] == "guide.md" and origin["heading"] == "Roofs" and origin["passage"] == passages[0].sha256
    assert origin["model"] == "small" and origin["kind"] == "synthetic" and made.usage.output == 1400 and made.calls == 2
    assert ROOF in sent[1]["content"] and ROOF not in sent[0]["content"], "a document's words never stand among the orders"


def test_new_instructions_are_no_copies(tmp_path):
    examples = [{"prompt": "Explain how to fix a leaking tap.", "completion": "Close the valve, then change the washer."}]
    tasks = [
        {"instruction": "Explain how to fix a leaking tap.", "response": "Close the valve first."},
        {"instruction": "Explain how to hang a heavy shelf.", "response": "Find the studs, then use long screws."},
    ]
    with model_host() as host:
        host.replies += [json.dumps({"tasks": tasks}), "no JSON at all"]
        made = maker_on(host).from_examples(examples, 2, 5, most_calls=2)
    assert [row["prompt"] for row in made.rows] == ["Explain how to hang a heavy shelf."]
    assert made.rejected == {"copied": 1, "not_json": 1}


@pytest.mark.parametrize(
    ("verdicts", "chosen"), [(("A", "B"), "Yes, by hand."), (("B", "A"), "No idea."), (("A", "A"), None), (("tie", "tie"), None)]
)
def test_a_judge_that_changes_its_mind_with_the_order_makes_no_pair(verdicts, chosen):
    with model_host() as host:
        host.replies += [json.dumps({"better": one, "why": "so"}) for one in verdicts]
        row, why = compared("Can I paint it?", ("Yes, by hand.", "one"), ("No idea.", "two"), maker_on(host), "helpful")
    assert (row["chosen"] if row else None) == chosen and (why == "judge_unsure") == (chosen is None)
    if row:
        assert {row["provenance"]["chosenBy"], row["provenance"]["rejectedBy"]} == {"one", "two"}


def test_making_stops_where_the_purse_ends(tmp_path):
    documents(tmp_path)
    passages = list(read_passages(tmp_path / "guide.md", "guide.md"))
    told = forecast([one.text for one in passages], 350)
    assert told.calls == 2 and told.output_tokens == 700 and told.input_tokens > 200
    with model_host() as host:
        model = Paid(Compatible("small", host.url), Prices(Decimal(15), Decimal(75)), Purse(tmp_path / "purse.jsonl", Decimal(0)))
        with pytest.raises(NoAnswerError) as refused:
            Maker(model, "small").from_passages(passages, 3, 10)
        assert refused.value.code == "asking_not_paid_for" and host.asked == []


def test_labels_are_kept_the_last_one_counts_and_sides_do_not_tell(tmp_path):
    pairs = [{"prompt": f"Question {n}?", "one": f"first {n}", "other": f"second {n}", "one_by": "x"} for n in range(40)]
    labelling = Labelling(tmp_path / "set")
    labelling.begin(pairs)
    shown = labelling.shown(0, 100, False)
    assert {one.a.split()[0] for one in shown} == {"first", "second"}, "shuffled"
    labelling.put([Label(index=0, better="a"), Label(index=1, better="tie"), Label(index=2, better="skip")])
    labelling.put([Label(index=0, better="b")])
    with (tmp_path / "set" / "labels.jsonl").open("a") as torn:
        torn.write('\n{"index": 3, "bet')
    labelling.put([Label(index=4, better="a")])
    rows = Labelling(tmp_path / "set").rows()
    assert [row["chosen"] for row in rows] == [shown[0].b, shown[4].a]
    assert [row["rejected"] for row in rows] == [shown[0].a, shown[4].b]
    assert [one.index for one in labelling.shown(0, 2, True)] == [3, 5]
    with pytest.raises(BadInputError):
        labelling.put([Label(index=40, better="a")])
