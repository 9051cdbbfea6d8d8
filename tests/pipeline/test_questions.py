"""Clarifying questions: at most two, each with a default, only where an answer changes the plan."""

import pytest
from planning_help import CLOUD, FAQ, NOW, intent, laptop, plan_of

from kriptik.pipeline.edit import edit_words
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.plan.known import capability_of
from kriptik.pipeline.plan.questions import AXES

WISHES = [
    intent("chat"),
    intent("chat", base_model="SmolLM2"),
    intent("music_generation"),
    intent("embeddings", quality_tier="consumer"),
]


@pytest.mark.parametrize("wish", WISHES, ids=str)
@pytest.mark.parametrize("site", [laptop(), laptop("0"), CLOUD], ids=["laptop", "free", "cloud"])
@pytest.mark.parametrize("rows", [None, FAQ], ids=["no-rows", "rows"])
def test_two_at_most_and_each_answer_moves_the_plan(wish, site, rows):
    plan, case = plan_of(wish, site, rows)
    assert len(plan.pending_decisions) <= 2
    for question in plan.pending_decisions:
        assert question.default and question.question.endswith("?")
        for answer in question.choices:
            if answer == question.default:
                continue
            edited = edit_words(plan, case, answer, now=NOW)
            assert any(getattr(edited.plan.choices, a) != getattr(plan.choices, a) for a in AXES), answer


def test_what_was_said_is_not_asked():
    plan, _case = plan_of(intent("chat", quality_tier="flagship", provider="local"), laptop(), FAQ)
    assert plan.pending_decisions == []


def test_where_nothing_else_is_set_up_the_place_is_not_asked():
    plan, _case = plan_of(intent("chat", quality_tier="consumer"), laptop(), FAQ)
    assert "provider" not in [question.field for question in plan.pending_decisions]


def test_where_there_is_a_choice_the_place_is_asked():
    plan, _case = plan_of(intent("chat", quality_tier="professional"), CLOUD, FAQ)
    place = next(question for question in plan.pending_decisions if question.field == "provider")
    assert place.default in place.choices and len(place.choices) >= 2


def test_where_two_readings_are_near_the_best_is_planned_and_the_other_asked_after():
    wish = OfflineParser().parse("Train a model that composes or classifies my songs")
    assert wish.capability == wish.guesses[0] and len(wish.guesses) == 2 and "guesses" not in wish.fields()
    plan, case = plan_of(wish, CLOUD, None)
    first = plan.pending_decisions[0]
    assert first.field == "capability" and first.default == capability_of(wish.capability).answer
    assert len(plan.pending_decisions) <= 2 and first.default in first.choices and len(first.choices) == 2
    other = next(answer for answer in first.choices if answer != first.default)
    edited = edit_words(plan, case, other, now=NOW).plan
    assert edited.choices.capability == wish.guesses[1] == edited.intent.capability and edited.intent.guesses == []
    assert edited.choices.base_model != plan.choices.base_model and edited.summary.target_capability == wish.guesses[1]
    assert "capability" not in [question.field for question in edited.pending_decisions]


def test_a_text_that_does_not_say_what_for_is_guessed_where_it_says_something_else():
    wish = OfflineParser().parse("fine-tune Mistral on my data")
    assert wish.capability is None and wish.needs_clarification and wish.guesses[0] == "text_generation"
    plan, _case = plan_of(wish, CLOUD, None)
    assert plan.choices.capability == "text_generation" and any("best guess" in warning for warning in plan.warnings)
    if asked := [question for question in plan.pending_decisions if question.field == "capability"]:
        assert asked[0].question.endswith("?") and asked[0].default == "It writes text"
    for vague in ("train something for me", "help me with AI"):
        assert OfflineParser().parse(vague).guesses == []


def test_where_the_text_is_plain_nothing_is_asked_about_it():
    for words in ("Quick fine-tune Llama for customer support", "Train a model to generate Suno-quality music"):
        wish = OfflineParser().parse(words)
        assert wish.guesses == []
        assert "capability" not in [question.field for question in plan_of(wish, CLOUD, None)[0].pending_decisions]


def test_an_answer_keeps_the_data_and_the_limit_on_money():
    wish = OfflineParser().parse("Train a model that composes or classifies my songs, at most $40")
    plan, case = plan_of(wish, CLOUD, None)
    other = next(a for a in plan.pending_decisions[0].choices if a != plan.pending_decisions[0].default)
    edited = edit_words(plan, case, other, now=NOW).plan
    assert edited.choices.budget_max_usd == 40 and edited.choices.data_source == plan.choices.data_source
    assert all(option.cost_usd.max <= 40 for option in edited.options)
