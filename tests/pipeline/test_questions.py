"""Clarifying questions: at most two, each with a default, only where an answer changes the plan."""

import pytest
from planning_help import CLOUD, FAQ, NOW, intent, laptop, plan_of

from kriptik.pipeline.edit import edit_words
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
