"""Which addresses http nodes may connect to. Names are resolved here, once, and the very address checked is used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) → its addresses as text; raises OSError."""

_NAT64 = IPv6Network("64:ff9b::/96")
_LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::/32"))
"""Where clouds serve machine credentials: a flow's own word does not open these."""


class AddressRefused(Exception):
    """Every address of the host is one that http nodes must not reach."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Guard:
    """
    Args:
        allow_private: every address may be reached.
        allow_private_hosts: these may: a host's name, `name:port`, an address, a network (`10.0.0.0/8`).
        opted_in: the flow says that it means a private address; link-local ones stay closed.
        resolve: how names become addresses.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        allow_private_hosts: Iterable[str],
        opted_in: bool,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._allow_private = allow_private
        self._opted_in = opted_in
        self._resolve = resolve
        self._names: set[str] = set()
        self._networks: list[Any] = []
        for entry in allow_private_hosts:
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lower())

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of the host that may be connected to. Raises AddressRefused, OSError."""
        try:
            found = [str(ip_address(host.strip("[]")))]
        except ValueError:
            found = await self._resolve(host, port)
        is_named = bool(self._names & {host.lower(), f"{host.lower()}:{port}"})
        allowed = [address for address in dict.fromkeys(found) if is_named or self.is_allowed(address)]
        if found and not allowed:
            raise AddressRefused(
                f"{host} has only private addresses, which http nodes must not reach; allow it by the setting "
                "allow_private_hosts, or by allow_private: true in the node"
            )
        return allowed

    def is_allowed(self, address: str) -> bool:
        ip = _inner(ip_address(address.partition("%")[0]))
        if self._allow_private or any(ip in network for network in self._networks):
            return True
        if self._opted_in:
            return not (ip.is_multicast or any(ip in network for network in _LINK_LOCAL))
        return ip.is_global and not ip.is_multicast


class GuardedBackend:
    """httpcore's network backend with our resolving and checking; TLS still verifies the host's name."""

    def __init__(self, inner: Any, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        failure: Exception = OSError(f"{host} has no address")
        for address in (await self._guard.addresses(host, port))[:4]:
            try:
                return await self._inner.connect_tcp(address, port, timeout=timeout, **options)
            except Exception as error:
                failure = error
        raise failure

    async def connect_unix_socket(self, path: str, **options: Any) -> Any:
        raise AddressRefused("http nodes do not connect to sockets in the file system")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _inner(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo is not None else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip
