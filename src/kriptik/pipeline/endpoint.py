"""Addresses of models that a person names: which may be asked at all, and which lie on this machine or in its own network.

Nothing is resolved and nothing asked here. Workers follow no redirects, so an address is what it says.
"""

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

from kriptik.spec.errors import BadInputError

Place = Literal["near", "out"]
NEAR_NAMES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
METADATA = "metadata.google.internal"
"""Hands out a rented machine's own keys, like the link-local addresses of other clouds."""
_PLAIN = re.compile(r"[!-\[\]-~]{1,300}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
"""A last label like this makes resolvers read a name as an IPv4 address of another spelling: 127.1, 2130706433, 0x7f.1."""
_TAIL = re.compile(r"/*(?:/chat/completions)?/*$")


def checked_url(url: str) -> str:
    """The address as it is kept, without "/chat/completions". 422 `bad_judge_url` for what is no plain address of a model."""
    if why := _why_not(url):
        step = "Give it as https://HOST/v1, or as http://127.0.0.1:PORT/v1 for a model of your own."
        raise BadInputError("bad_judge_url", f"This cannot be the address of a judge: {why}.", step)
    return _TAIL.sub("", url)


def is_near(url: str) -> bool:
    """Whether a checked address lies on this machine or in its network: nobody is paid there, and no rented machine gets there."""
    return _place(host_of(url)) == "near"


def host_of(url: str) -> str:
    """The host of a checked address."""
    return urlsplit(url).hostname or ""


def _why_not(url: str) -> str | None:
    if not _PLAIN.fullmatch(url):
        return "it is empty, too long, or holds characters that no address has"
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        return "it is malformed"
    if parts.scheme not in ("http", "https"):
        return "only http and https are asked"
    if "@" in parts.netloc:
        return "it holds a name or a password; a key comes by the name of its variable"
    if "?" in url or "#" in url:
        return "it holds more than host and path"
    place = _place(parts.hostname or "")
    if place is None:
        return "its host is none that may be asked"
    if place == "out" and parts.scheme == "http":
        return "outside your own network only https is asked, since the key goes along"
    return None


def _place(host: str) -> Place | None:
    """Where a host is; None for what is nobody's model: metadata services, many at once, nowhere."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return _of_name(host.lower().removesuffix("."))
    address = (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
    if address.is_loopback:
        return "near"
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return None
    return "out" if address.is_global else "near"


def _of_name(name: str) -> Place | None:
    labels = name.split(".")
    if name == METADATA or _NUMBER.fullmatch(labels[-1]) or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return "near" if len(labels) == 1 or name.endswith(NEAR_NAMES) else "out"
