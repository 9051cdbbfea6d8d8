"""Puts the outside world together: the providers this server may use."""

from pathlib import Path

import kriptik
from kriptik.providers.provider import Provider
from kriptik.server.settings import Settings


def make_providers(settings: Settings, *, to_end: bool = False) -> dict[str, Provider]:
    """Every provider that can be used with these settings, by name. `to_end`: to list and end alone, for which a key is enough."""
    from kriptik.providers.local import LocalProvider

    found: dict[str, Provider] = {"local": LocalProvider(settings.home / "local", settings.local_price_per_hour)}
    if settings.runpod_api_key is not None and (to_end or not missing_for_runpod(settings)):
        from kriptik.providers.runpod import RunPodProvider

        found["runpod"] = RunPodProvider(
            settings.runpod_api_key.get_secret_value(),
            settings.runpod_image,
            base_url=settings.runpod_url,
            cloud=settings.runpod_cloud,
            disk_gb=settings.runpod_disk_gb,
            bootstrap=_bootstrap() if settings.runpod_bootstrap else None,
        )
    return found


def _bootstrap() -> str:
    """The text that turns a plain image into a worker. Read as a file: the server imports nothing of the worker."""
    return (Path(kriptik.__file__).parent / "worker" / "bootstrap.py").read_text(encoding="utf-8")


def missing_for_runpod(settings: Settings) -> list[str]:
    """The settings that RunPod still needs; empty where it is set up."""
    needed = {
        "KRIPTIK_RUNPOD_API_KEY": settings.runpod_api_key,
        "KRIPTIK_RUNPOD_IMAGE": settings.runpod_image,
        "KRIPTIK_WORKER_URL": settings.outside_url,
    }
    return [name for name, value in needed.items() if not value]
