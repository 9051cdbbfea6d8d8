"""OpenAI's fine-tuning jobs: what is taken over, what is replaced, and what is refused by name."""

import pytest

from kriptik.catalogue.load import find_model
from kriptik.pipeline.openai_job import _facts, read_job
from kriptik.spec.errors import BadInputError


def test_a_supervised_job():
    read = read_job(
        {
            "model": "gpt-4o-mini-2024-07-18",
            "training_file": "file-abc",
            "suffix": "support",
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5}},
            },
        }
    )
    assert read.selections == {"capability": "chat", "base_model": "Qwen/Qwen3-8B"}
    assert read.settings == {"epochs": 3.0} and read.rate_times == 0.5
    said = " ".join(read.notes)
    assert "stands in" in said and "batch_size is automatic" in said and "training_file was not taken over" in said


def test_a_preference_job_and_the_older_place_of_its_figures():
    job = {"model": "gpt-4.1-nano", "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 2}}}}
    read = read_job(job)
    assert read.selections["method"] == "dpo" and read.settings == {"epochs": 2.0}
    old = read_job({"model": "gpt-3.5-turbo", "hyperparameters": {"n_epochs": 4, "batch_size": 8}})
    assert old.settings == {"epochs": 4.0, "batch_size": 8.0} and "method" not in old.selections


def test_a_tuned_model_and_one_of_ours():
    assert read_job({"model": "ft:gpt-4o-mini-2024-07-18:firm::abc"}).selections["base_model"] == "Qwen/Qwen3-8B"
    assert read_job({"model": "openai/gpt-oss-20b"}).selections["base_model"] == "openai/gpt-oss-20b"


def test_every_stand_in_and_method_is_in_the_catalogue():
    assert all(find_model(name) for name in _facts()["models"].values())


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({}, "model"),
        ({"model": "claude-9"}, "model"),
        ({"model": "gpt-4o", "method": {"type": "magic"}}, "method.type"),
        ({"model": "gpt-4o", "method": "dpo"}, "method.type"),
        ({"model": "gpt-4o", "hyperparameters": [3]}, "hyperparameters"),
        ({"model": "gpt-4o", "hyperparameters": {"n_epochs": 0}}, "n_epochs"),
        ({"model": "gpt-4o", "hyperparameters": {"batch_size": "many"}}, "batch_size"),
        ({"model": "gpt-4o", "hyperparameters": {"learning_rate_multiplier": True}}, "learning_rate_multiplier"),
    ],
)
def test_what_cannot_be_read_is_named(job, field):
    with pytest.raises(BadInputError) as refused:
        read_job(job)
    assert refused.value.fields == {"field": field} and refused.value.next_step
