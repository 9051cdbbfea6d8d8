"""Held-out rows share nothing with training rows, whatever the rows are and in whatever order they come."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kriptik.data import split
from kriptik.data.near import SIMILAR, NearIndex, similarity
from kriptik.data.split import held_out_rows, split_rows, traits
from kriptik.data.text import normal

WORDS = st.sampled_from(["roof", "wall", "floor", "paint", "price", "guarantee", "window", "door", "permit", "garden"])
TEXT = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=80)


def pair(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def divided(rows, seed=0, wanted=None, **options):
    near = NearIndex()
    for row in rows:
        near.add(row)
    wanted = held_out_rows(len(rows), 0.2, 500) if wanted is None else wanted
    return split_rows([traits(row) for row in rows], seed, {"eval": wanted}, lambda: near.pairs(lambda n: rows[n]), **options)


def parts(rows, sides, side):
    chosen = [row["messages"] for row, where in zip(rows, sides.sides, strict=True) if where == side]
    return {normal(m[0]["content"]) for m in chosen}, {normal(m[1]["content"]) for m in chosen}


@settings(deadline=None)
@given(PAIRS, st.integers(0, 5))
def test_no_question_or_answer_on_both_sides(pairs, seed):
    rows = [pair(q + "?", a.title() + ".") for q, a in pairs]
    sides = divided(rows, seed)
    (asked, said), (held_asked, held_said) = parts(rows, sides, "train"), parts(rows, sides, "eval")
    assert not asked & held_asked
    if not sides.labels:
        assert not said & held_said
    assert sides.overlap == 0 and sides.count("train") >= 1
    assert sides.count("train") + sides.count("eval") == len(rows) - sides.duplicates


@settings(deadline=None)
@given(PAIRS, st.integers(0, 5), st.randoms())
def test_order_does_not_matter_and_the_seed_does(pairs, seed, chance):
    rows = [pair(q, a) for q, a in {(q, a) for q, a in pairs}]
    shuffled = rows[:]
    chance.shuffle(shuffled)
    one, two = divided(rows, seed), divided(shuffled, seed)

    def by_row(rows, sides):
        return {split.exact_form(row): (side, key) for row, side, key in zip(rows, sides.sides, sides.groups, strict=True)}

    assert by_row(rows, one) == by_row(shuffled, two)


def test_another_seed_holds_out_other_rows():
    rows = [pair(f"What is thing {n * 7919}?", f"It is a thing of kind {n * 104729}.") for n in range(100)]
    assert divided(rows, 1).sides != divided(rows, 2).sides == divided(rows, 2).sides


def test_overlap_is_counted_and_not_assumed():
    rows = [pair("Who?", "Anna of the office."), pair("Who?", "Bertil of the yard."), pair("Where?", "In the old town.")]
    made = [traits(row) for row in rows]
    sides = split.Split(["train", "eval", "eval"], [0, 1, 2])
    assert split.overlap(made, sides, set()) == 1


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("What is a ROOF?", "what is  a roof", True),
        ("Yes, please!", "yes please", True),
        ("What is 2+2?", "What is 2-2?", False),
        ("x = a.b", "x = ab", False),
    ],
)
def test_what_counts_as_a_repetition(one, two, same):
    sides = divided([pair(one, "An answer to it."), pair(two, "an answer to it")])
    assert sides.duplicates == int(same)


def test_near_duplicates_are_found_and_stay_together():
    base = "we paint the whole house inside and outside including every window door and the small garden wall behind it"
    chance = random.Random(0)
    words = base.split()
    rows = [pair(f"Question {n}?", " ".join(chance.choices(words, k=20))) for n in range(60)]
    rows += [pair("Do you paint houses?", base), pair("Do you paint houses then?", base + " too")]
    for seed in range(5):
        sides = divided(rows, seed)
        assert sides.near_of == {61: 60} and sides.groups[60] == sides.groups[61]
        assert sides.sides[60] == sides.sides[61]
    dropped = divided(rows, drop_near=True)
    assert dropped.sides[61] is None and dropped.sides[60] is not None


def test_the_near_index_misses_few_and_invents_none():
    chance = random.Random(7)
    alphabet = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in "lmnrst"]
    rows, planted = [], 0
    for _ in range(150):
        words = chance.choices(alphabet, k=60)
        rows.append(pair("Tell me about it", " ".join(words)))
        changed = words[:]
        changed[chance.randrange(60)] = "zzz"
        rows.append(pair("Tell me about it", " ".join(changed)))
        planted += similarity(rows[-1], rows[-2]) >= SIMILAR
    near = NearIndex()
    for row in rows:
        near.add(row)
    found = {tuple(sorted(found)) for found in near.pairs(lambda n: rows[n])}
    assert all(similarity(rows[a], rows[b]) >= SIMILAR for a, b in found)
    assert planted > 100 and len(found) >= 0.97 * planted


def test_short_answers_that_all_rows_share_are_labels():
    rows = [pair(f"Is the mail number {n * 7919} from {n * 31} spam?", "yes" if n % 2 else "no") for n in range(200)]
    sides = divided(rows)
    assert sides.labels == 2 and sides.overlap == 0 and sides.count("eval") == 40
    few = [pair(f"Question number {n}?", f"Answer {n % 20}.") for n in range(100)]
    sides = divided(few)
    assert sides.labels == 0 and sides.overlap == 0 and sides.count("eval") == 20


def test_one_group_is_all_trained_on():
    rows = [pair("Always the same question?", f"Answer number {n}, in other words.") for n in range(50)]
    sides = divided(rows)
    assert sides.count("eval") == 0 and sides.count("train") == 50


def test_later_turns_tie_rows_too():
    def talk(n):
        first = pair(f"Opening number {n}, about matter {n * n}?", f"Reply number {n} about matter {n * n}.")
        more = pair("And what if the permit is refused by the town?", f"Then appeal {n}, within {n} weeks.")
        return {"messages": first["messages"] + more["messages"]}

    sides = divided([talk(n) for n in range(10)])
    assert len(set(sides.groups)) == 1


@pytest.mark.parametrize(("rows", "held"), [(0, 0), (1, 0), (2, 1), (10, 2), (503, 100), (2000, 200), (100_000, 500)])
def test_how_many_are_held_out(rows, held):
    assert held_out_rows(rows, 0.1, 500) == held
