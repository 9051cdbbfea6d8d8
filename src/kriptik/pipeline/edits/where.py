"""Edits of where it runs: GPU, how many, provider, this machine."""

from decimal import Decimal

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import Work, amount
from kriptik.pipeline.plan import moves
from kriptik.pipeline.plan.choose import pinned
from kriptik.pipeline.plan.cost import gpu_of, price
from kriptik.pipeline.plan.known import model_of
from kriptik.pipeline.plan.place import Place, provider_for
from kriptik.spec.errors import BadInputError

CPU_ASKED_MOST_B = 4.0
"""The largest model that stays when a person moves a plan to a CPU; larger ones are exchanged unless the person named them."""


def edit_gpu(work: Work, ask: Ask, asks: list[Ask]) -> None:
    choices = work.choices
    if ask.op == "use":
        gpu = str(ask.value)
        if gpu == "cpu":
            _to_machine(work, ask, cpu=True)
            return
        has_price = (choices.provider, gpu) in load_catalogue().prices
        machine = work.case.site.machine
        local = choices.provider == "local" and (machine is None or machine.gpu == gpu)
        named = any(a.axis == "provider" and a.op in ("use", "no_cloud") for a in asks) or "provider" in pinned(
            work.case.intent, choices
        )
        provider = (
            choices.provider if has_price or local or (named and choices.provider != "local") else provider_for(gpu, work.case.site)
        )
        update: dict[str, object] = {"gpu": gpu, "provider": provider}
        if provider != choices.provider:
            work.reasons["provider"] = f"{gpu} is to be had at {provider}"
        count = next((round(amount(a, 1, "gpu_count")) for a in asks if a.axis == "gpu_count" and a.op == "set"), None)
        fields = ["gpu"]
        if count is not None:
            update["gpu_count"] = count
            fields.append("gpu_count")
        work.to(choices.model_copy(update=update), ask.words, *fields)
        return
    if ask.op == "exclude":
        if choices.gpu == ask.value and not any(a.axis == "gpu" and a.op == "use" for a in asks):
            others = [w for w in moves.places(choices, work.case) if w.gpu != ask.value]
            move_to(work, ask, others[0] if others else None, "There is no other GPU that fits.")
        return
    now = gpu_of(choices.gpu)
    offers = moves.places(choices, work.case)
    if ask.op in ("cheaper", "less"):
        cost = price(choices.provider, choices.gpu, choices.gpu_count, work.case.site).per_hour
        offers = [w for w in offers if price(w.provider, w.gpu, w.count, work.case.site).per_hour < cost]
        move_to(work, ask, offers[0] if offers else None, f"{now.title} is the cheapest that fits.")
    elif ask.op == "faster":
        hours = moves.hours_of(choices, work.case)
        after = [(moves.hours_of(moves.moved(choices, w, work.case), work.case), w) for w in offers]
        quick = [w for h, w in after if h < hours * 0.9] or [
            w for h, w in after if h < hours and gpu_of(w.gpu).tflops_bf16 > now.tflops_bf16
        ]
        move_to(work, ask, quick[0] if quick else None, f"{now.title} is the fastest that is to be had.")
    else:
        larger = [w for w in offers if w.count <= choices.gpu_count and _above(gpu_of(w.gpu), now)]
        larger.sort(key=lambda w: (gpu_of(w.gpu).vram_gb, gpu_of(w.gpu).tflops_bf16))
        move_to(work, ask, larger[0] if larger else None, f"{now.title} is the largest that is to be had.")


def _above(one: object, now: object) -> bool:
    mine = (getattr(now, "vram_gb"), getattr(now, "tflops_bf16"))  # noqa: B009
    theirs = (getattr(one, "vram_gb"), getattr(one, "tflops_bf16"))  # noqa: B009
    return theirs[0] > mine[0] or (theirs[0] == mine[0] and theirs[1] > mine[1])


def move_to(work: Work, ask: Ask, where: Place | None, otherwise: str) -> None:
    if where is None:
        raise BadInputError("no_such_gpu", otherwise, "Change the model or the method first.")
    after = work.choices.model_copy(update={"provider": where.provider, "gpu": where.gpu, "gpu_count": where.count})
    if where.provider != work.choices.provider:
        work.reasons["provider"] = f"{where.gpu} is to be had at {where.provider}"
    work.to(after, ask.words, "gpu")


def edit_gpu_count(work: Work, ask: Ask, asks: list[Ask]) -> None:
    now = work.choices.gpu_count
    value = amount(ask, now, "gpu_count")
    if work.choices.gpu == "cpu" and value > 1:
        offers = [w for w in moves.places(work.choices, work.case) if w.gpu != "cpu"]
        if not offers:
            raise BadInputError("no_such_gpu", "There is no GPU that fits.", "Name one, for example: two A100.")
        work.set(ask.words, gpu=offers[0].gpu, provider=offers[0].provider, gpu_count=round(value))
        return
    if any(a.axis == "gpu" and a.op == "use" for a in asks) and work.choices.gpu_count == round(value):
        return
    work.set(ask.words, gpu_count=max(1, round(value)))


def edit_provider(work: Work, ask: Ask, asks: list[Ask]) -> None:
    choices = work.choices
    if ask.op == "no_cloud" or (ask.op == "use" and ask.value == "local"):
        if not any(a.axis == "gpu" and a.op == "use" for a in asks) or work.case.site.machine is None:
            _to_machine(work, ask)
        return
    if ask.op == "cloud" or (ask.op == "exclude" and ask.value == choices.provider):
        if any(a.axis == "provider" and a.op == "use" for a in asks):
            return
        banned = {str(a.value) for a in asks if a.op == "exclude" and a.axis == "provider"}
        offers = [w for w in moves.places(choices, work.case) if w.provider not in banned | {"local"}]
        others = [
            Place(who, gpu, choices.gpu_count)
            for who, gpu in load_catalogue().prices
            if gpu == choices.gpu and who not in banned | {"local", choices.provider}
        ]
        others.sort(key=lambda w: price(w.provider, w.gpu, w.count, work.case.site).per_hour)
        where = next(iter([*others, *offers]), None) if ask.op == "exclude" else next(iter(offers), None)
        if where is None:
            raise BadInputError("no_such_provider", "No other provider has this.", "Name one, for example: runpod.")
        work.set(ask.words, provider=where.provider, gpu=where.gpu, gpu_count=where.count)
        return
    if ask.op == "use" and ask.value != choices.provider:
        _to_provider(work, ask, str(ask.value))


def _to_provider(work: Work, ask: Ask, provider: str) -> None:
    """Another provider: with the same GPU where it has one, else with its cheapest that fits."""
    choices = work.choices
    prices = load_catalogue().prices
    theirs = [gpu for who, gpu in prices if who == provider and gpu != "cpu"]
    gpu = choices.gpu
    if theirs and gpu not in theirs:
        trials = [choices.model_copy(update={"provider": provider, "gpu": g}) for g in theirs]
        fitting = [t for t in trials if moves.fits(t, work.case)] or trials
        best = min(fitting, key=lambda t: moves.cost_of(t, work.case))
        gpu = best.gpu
        work.reasons["gpu"] = f"{provider} has no {choices.gpu}"
    elif gpu == "cpu":
        gpu = "RTX4090" if not theirs else theirs[0]
    work.to(choices.model_copy(update={"provider": provider, "gpu": gpu}), ask.words, "provider")


def _to_machine(work: Work, ask: Ask, *, cpu: bool = False) -> None:
    """To this machine. Where it is not known, the hardware is taken at the person's word."""
    choices, machine = work.choices, work.case.site.machine
    if machine is None:
        gpu = "cpu" if cpu else choices.gpu
        work.set(ask.words, provider="local", **({"gpu": gpu, "gpu_count": 1} if cpu else {}))
        return
    gpu = "cpu" if cpu else machine.gpu
    update: dict[str, object] = {
        "provider": "local",
        "gpu": gpu,
        "gpu_count": 1 if gpu == "cpu" else min(machine.gpu_count, choices.gpu_count),
    }
    model = model_of(choices.base_model)
    trial = choices.model_copy(update=update)
    if "base_model" not in pinned(work.case.intent, choices) | work.frozen and (
        not moves.fits(trial, work.case) or (gpu == "cpu" and model.active_b > CPU_ASKED_MOST_B)
    ):
        fitting = [m for m in moves.smaller_models(trial, work.case) if m.params_b <= 1.0 or gpu != "cpu"]
        fitting = [m for m in fitting if moves.fits(trial.model_copy(update={"base_model": m.id}), work.case)]
        pick = max(fitting, key=lambda m: (m.trainable_family is not None, -m.params_b), default=None)
        if pick is not None:
            update["base_model"] = pick.id
            work.reasons["base_model"] = f"{model.title} is too large for this machine"
    work.to(choices.model_copy(update=update), ask.words, "provider", "gpu", "gpu_count")


def edit_hourly(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    most = Decimal(str(ask.value))
    offers = moves.places(work.choices, work.case)
    fitting = [w for w in offers if price(w.provider, w.gpu, w.count, work.case.site).per_hour <= most]
    now = price(work.choices.provider, work.choices.gpu, work.choices.gpu_count, work.case.site).per_hour
    if now > most:
        move_to(work, ask, fitting[0] if fitting else None, f"Nothing that fits costs ${most} per hour or less.")
