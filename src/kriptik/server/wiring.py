"""Puts the outside world together: the providers this server may use."""

from kriptik.providers.provider import Provider
from kriptik.server.settings import Settings


def make_providers(settings: Settings) -> dict[str, Provider]:
    """Every provider that can be used with these settings, by name."""
    from kriptik.providers.local import LocalProvider

    return {"local": LocalProvider(settings.home / "local", settings.local_price_per_hour)}
