"""Browsers' cross-site requests: whose page sent this, and by which name it reached us.

A page of another site must not start or cancel anything here with the visitor's reach (CSRF), and a
name that an attacker points at 127.0.0.1 must not reach an open server (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping

from perdure.errors import HostRefused, OriginRefused

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Raises OriginRefused where a browser says that another site's page (or a page without one, `null`) asks."""
    origin = headers.get(b"origin")
    if origin is None:
        return
    scheme, separator, authority = origin.decode("latin-1").lower().partition("://")
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if (
        not separator
        or scheme not in {"http", "https"}
        or not host
        or _whole(authority, scheme) != _whole(host, scheme)
    ):
        raise OriginRefused(f"requests from pages of {origin.decode('latin-1')[:100]!r} are refused")


def check_loopback_host(headers: Mapping[bytes, bytes]) -> None:
    """Raises HostRefused unless the Host header names the loopback interface, with any port."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if _without_port(host) not in _LOOPBACK_NAMES:
        raise HostRefused(
            f"this server is open to this machine alone and does not answer to the name {host[:100]!r}; "
            "use localhost or 127.0.0.1, or make a token"
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


def _whole(authority: str, scheme: str) -> str:
    """With its port, so that `example.org` and `example.org:443` are the same under https."""
    if authority != _without_port(authority):
        return authority
    return f"{authority}:{443 if scheme == 'https' else 80}"
