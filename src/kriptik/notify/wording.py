"""What notices say: title, sentence, and the button with the page it opens. Channels word the same occasion from here."""

from decimal import Decimal
from typing import NamedTuple


class Wording(NamedTuple):
    """One occasion in words; `path` is a page of the web UI."""

    title: str
    message: str
    path: str
    label: str


def alert(name: str, job_id: str, spend: Decimal, cap: Decimal) -> Wording:
    """The alert mark was passed."""
    return Wording(
        f"{name}: {spend * 100 / cap:.0f} % of the budget is used",
        f"${spend:.4f} of ${cap} is spent. Training goes on until the freeze mark.",
        f"/jobs/{job_id}?panel=budget",
        "View Training",
    )


def freeze(name: str, spend: Decimal, cap: Decimal, *, by_budget: bool, link: str, why: str = "") -> Wording:
    """The run is frozen; `link` is the signed resume link."""
    by_budget = by_budget and not why
    why = why or ("The budget's freeze mark was reached." if by_budget else "You paused it.")
    return Wording(
        f"{name}: training frozen at {spend * 100 / cap:.0f} % budget",
        f"{why} ${spend:.4f} of ${cap} is spent. The work is saved; no compute bills. Resume where it stopped.",
        link,
        "Adjust Budget & Resume" if by_budget else "Resume",
    )


def stage_complete(name: str, job_id: str, stage: str) -> Wording:
    """The next stage waits for a person."""
    return Wording(
        f"{name}: the next stage waits for you",
        f"\u201c{stage}\u201d starts when you approve it. No compute bills until then.",
        f"/jobs/{job_id}",
        "View Training",
    )


def complete(name: str, job_id: str, spend: Decimal, cap: Decimal) -> Wording:
    """The run is done."""
    return Wording(f"{name}: training complete", f"It took ${spend:.4f} of ${cap}.", f"/jobs/{job_id}/test", "Test Model")


def error(name: str, job_id: str, message: str) -> Wording:
    """The run failed."""
    return Wording(f"{name}: training failed", message, f"/jobs/{job_id}?panel=error", "Retry")


def alarm(name: str, job_id: str, message: str) -> Wording:
    """Something only a person can mend."""
    return Wording(f"{name}: needs you now", message, f"/jobs/{job_id}?panel=error", "View Training")


def orphan(provider: str, name: str) -> Wording:
    """A machine nobody wanted."""
    return Wording(
        f"A machine at {provider} was ended",
        f"{name} belonged to this installation, but no run wanted it. Look at the provider's bill.",
        "/",
        "View Runs",
    )
