"""Puts the outside world together: the providers this server may use."""

from kriptik.providers.provider import Provider
from kriptik.server.settings import Settings


def make_providers(settings: Settings) -> dict[str, Provider]:
    """Every provider that can be used with these settings, by name."""
    from kriptik.providers.local import LocalProvider

    found: dict[str, Provider] = {"local": LocalProvider(settings.home / "local", settings.local_price_per_hour)}
    if not missing_for_runpod(settings) and settings.runpod_api_key is not None:
        from kriptik.providers.runpod import RunPodProvider

        found["runpod"] = RunPodProvider(
            settings.runpod_api_key.get_secret_value(),
            settings.runpod_image,
            base_url=settings.runpod_url,
            cloud=settings.runpod_cloud,
            disk_gb=settings.runpod_disk_gb,
        )
    return found


def missing_for_runpod(settings: Settings) -> list[str]:
    """The settings that RunPod still needs; empty where it is set up."""
    needed = {
        "KRIPTIK_RUNPOD_API_KEY": settings.runpod_api_key,
        "KRIPTIK_RUNPOD_IMAGE": settings.runpod_image,
        "KRIPTIK_WORKER_URL": settings.outside_url,
    }
    return [name for name, value in needed.items() if not value]
