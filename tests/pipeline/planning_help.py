"""Shared by the planner's tests: a laptop with nothing but a CPU, what trains there, and a small support data set."""

from datetime import UTC, datetime
from decimal import Decimal

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.plan.build import build_plan
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.site import CLOUD_ORDER, Case, Machine, Rows, Site
from kriptik.spec.catalogue import MethodStatus
from kriptik.spec.intent import TrainingIntent

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TEXT = ["text_generation", "chat", "code_generation", "custom"]
FAQ = Rows("ds", "faq", rows=497, train_rows=398, tokens=51_037, longest_tokens=300)


def statuses(*trainable):
    """Every method planned but for these."""
    return {
        entry.id: MethodStatus(
            id=entry.id,
            stages=entry.stages,
            status="trainable" if entry.id in trainable else "planned",
            reason=None if entry.id in trainable else "No conformance proof yet.",
            capabilities=TEXT if entry.id in trainable else entry.capabilities,
        )
        for entry in load_catalogue().methods.values()
    }


def laptop(price="6", **options):
    options = {"statuses": statuses("lora", "dora", "full_finetune"), **options}
    return Site(local_price=Decimal(price), **{"machine": Machine(memory_gb=24, cores=2), **options})


CLOUD = Site(providers=frozenset({"local", *CLOUD_ORDER}))


def intent(capability="text_generation", **fields):
    return TrainingIntent.model_validate({"is_training_request": True, "capability": capability, **fields})


def plan_of(wish, site=None, rows=None):
    site = site or laptop()
    chosen = choose(wish, site, rows)
    case = Case(wish, site, rows)
    plan = build_plan(
        chosen.choices, case, plan_id="p", contract_id="c", user_id="u", prompt="a request", now=NOW, assumed=chosen.assumed
    )
    return plan, case
