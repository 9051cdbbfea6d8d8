"""What DreamBooth is told of its subject: by the settings tile and in plain words; one prompt follows from the other."""

import pytest
from planning_help import CLOUD, NOW, intent, plan_of

from kriptik.pipeline import job
from kriptik.pipeline.edit import edit_tile, edit_words
from kriptik.spec.errors import BadInputError
from kriptik.spec.plan import PlanModification

DOG = intent("image_generation", methods=["dreambooth"], quality_tier="consumer")
WARNING = "DreamBooth is not told yet"


@pytest.fixture
def plan():
    return plan_of(DOG, CLOUD)


def told(plan):
    return {name: plan.choices.settings.objective[name] for name in ("class_prompt", "instance_prompt")}


def warned(plan):
    return any(one.startswith(WARNING) for one in plan.warnings)


def on_tile(plan, case, value):
    return edit_tile(plan, case, "config", PlanModification(type="custom_value", value=value), now=NOW)


def test_the_settings_tile_takes_both_prompts_and_the_run_is_given_them(plan):
    plan, case = plan
    assert plan.choices.method == "dreambooth" and warned(plan)
    edit = on_tile(plan, case, {"classPrompt": "a photo of a dog", "instancePrompt": "a photo of zwx dog"})
    assert told(edit.plan) == {"class_prompt": "a photo of a dog", "instance_prompt": "a photo of zwx dog"}
    assert not warned(edit.plan)
    assert {(one.param, one.after, one.tile) for one in edit.changes} == {
        ("class_prompt", "a photo of a dog", "config"), ("instance_prompt", "a photo of zwx dog", "config"),
    }  # fmt: skip
    (stage,) = job.plan_stages(edit.plan)
    assert stage.settings.objective["class_prompt"] == "a photo of a dog" and stage.settings.objective["prior_images"] == 200


@pytest.mark.parametrize(
    ("said", "of_class", "of_subject"),
    [
        ({"classPrompt": "a photo of a dog"}, "a photo of a dog", "a photo of sks dog"),
        ({"classPrompt": " a  vase "}, "a vase", "sks vase"),
        ({"instancePrompt": "a painting of sks cat"}, "a painting of cat", "a painting of sks cat"),
    ],
)
def test_of_one_prompt_the_other_follows(plan, said, of_class, of_subject):
    plan, case = plan
    assert told(on_tile(plan, case, said).plan) == {"class_prompt": of_class, "instance_prompt": of_subject}


def test_a_prompt_that_a_person_gave_does_not_follow(plan):
    plan, case = plan
    plan = on_tile(plan, case, {"instancePrompt": "a photo of zwx dog", "classPrompt": "a photo of a dog"}).plan
    assert told(on_tile(plan, case, {"classPrompt": "a dog"}).plan) == {
        "class_prompt": "a dog", "instance_prompt": "a photo of zwx dog",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "of_class", "epochs"),
    [
        ('set the class prompt to "a photo of a dog"', "a photo of a dog", None),
        ("class prompt: a picture of a red car and 800 steps", "a picture of a red car", 800),
        ("class prompt = 'a photo of a 4090 on runpod', cheaper", "a photo of a 4090 on runpod", None),
        ('the class prompt should be "a large toy"', "a large toy", None),
    ],
)
def test_plain_words_set_it_and_nothing_in_it_asks_for_more(plan, words, of_class, epochs):
    plan, case = plan
    after = edit_words(plan, case, words, now=NOW).plan
    assert after.choices.settings.objective["class_prompt"] == of_class
    assert epochs is None or after.choices.settings.max_steps == epochs
    assert after.choices.base_model == plan.choices.base_model or "cheaper" in words


def test_it_stays_through_other_edits_and_goes_with_the_method(plan):
    plan, case = plan
    plan = edit_words(plan, case, 'class prompt "a photo of a dog"', now=NOW).plan
    plan = edit_words(plan, case, "at most $40, rank 8", now=NOW).plan
    assert plan.choices.settings.objective["class_prompt"] == "a photo of a dog"
    plan = edit_words(plan, case, "use LoRA instead", now=NOW).plan
    assert "class_prompt" not in plan.choices.settings.objective and not warned(plan)


@pytest.mark.parametrize(
    ("value", "code"),
    [({"classPrompt": "  "}, "bad_value"), ({"classPrompt": "x" * 201}, "bad_value"), ({"classPrompt": 3}, "bad_value")],
)
def test_what_is_no_prompt_is_refused(plan, value, code):
    plan, case = plan
    with pytest.raises(BadInputError) as error:
        on_tile(plan, case, value)
    assert error.value.code == code


def test_a_method_without_prompts_says_so():
    plan, case = plan_of(intent("chat", quality_tier="consumer"), CLOUD)
    with pytest.raises(BadInputError) as error:
        edit_words(plan, case, 'class prompt "a photo of a dog"', now=NOW)
    assert error.value.code == "no_such_prompt"
    assert not warned(plan)
