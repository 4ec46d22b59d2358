"""Requests: what comes back, what fails, and which addresses are never reached."""

import asyncio
import gzip
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.codec import VALUE_LIMIT
from perdure.nodes.http import HttpNode
from perdure.nodes.http_guard import AddressRefused, Guard, GuardedBackend
from tests.nodes.conftest import Nodes, make_call, running_nodes


class Site:
    """A server of raw answers by path; keeps the requests as text."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}
        self.requests: list[str] = []
        self.port = 0

    def __setitem__(self, path: str, answer: Any) -> None:
        self.answers[path] = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0
            )
            self.requests.append(head + (await reader.readexactly(length)).decode())
            answer = self.answers[head.split()[1].partition("?")[0]]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path_factory.mktemp("http"), allow_private_hosts=frozenset({"localhost"})) as running:
        yield running


def config(site: Site, path: str, **more: Any) -> dict[str, Any]:
    return {"url": f"http://localhost:{site.port}{path}", **more}


async def test_the_output_has_status_headers_body_and_json(nodes: Nodes, site: Site) -> None:
    site["/a"] = answer(body=b'{"x": "\xc3\xa4"}', content_type="application/json", x_more="1")
    output = await nodes.run("http", config(site, "/a", query={"q": "a b", "n": [1, 2]}, headers={"X-Mine": "yes"}))
    assert (output["status"], output["body"], output["json"]) == (200, '{"x": "ä"}', {"x": "ä"})
    assert output["headers"]["x-more"] == "1"
    assert site.requests[0].startswith("GET /a?q=a+b&n=1&n=2 HTTP/1.1")
    assert "x-mine: yes" in site.requests[0].lower()


@pytest.mark.parametrize(
    ("more", "line", "sent"),
    [
        ({"json": {"a": [1]}}, "POST", '{"a":[1]}'),
        ({"body": "text", "method": "put"}, "PUT", "text"),
        ({"form": {"a": "1 2", "b": 3}}, "POST", "a=1+2&b=3"),
        ({"json": None}, "POST", "null"),
        ({"body": {"a": [True, None]}}, "POST", '{"a":[true,null]}'),
        ({"body": None}, "POST", ""),
        ({"form": {"a": True, "b": None, "c": [1]}}, "POST", "a=true&c=%5B1%5D"),
    ],
)
async def test_the_three_kinds_of_body(nodes: Nodes, site: Site, more: dict[str, Any], line: str, sent: str) -> None:
    site["/"] = answer()
    await nodes.run("http", config(site, "/", **more))
    assert site.requests[0].startswith(line)
    assert site.requests[0].endswith(f"\r\n\r\n{sent}")


async def test_values_that_are_no_texts_are_sent_as_templates_write_them(nodes: Nodes, site: Site) -> None:
    site["/"] = answer()
    more = {"headers": {"X-Flag": True, "X-None": None}, "query": {"a": {"b": False}, "c": [True, 1.5], "d": None}}
    await nodes.run("http", config(site, "/", **more))
    assert site.requests[0].startswith("GET /?a=%7B%22b%22%3Afalse%7D&c=true&c=1.5&d= ")
    assert "x-flag: true\r\n" in site.requests[0].lower()
    assert "x-none" not in site.requests[0].lower()


@pytest.mark.parametrize("field", ["headers", "query", "form"])
async def test_what_is_no_map_is_not_left_out_in_silence(nodes: Nodes, site: Site, field: str) -> None:
    failure = await nodes.failure("http", config(site, "/", **{field: ["a"]}))
    assert (failure.code, failure.retryable) == ("invalid_config", False)
    assert failure.message == f'{field} is a map from names to texts, not ["a"]'
    assert not site.requests


@pytest.mark.parametrize(
    ("body", "content_type", "text", "json"),
    [
        (b"\xe4", "text/plain; charset=latin-1", "ä", None),
        (b"\xff\x00", "text/plain; charset=nonsense", "\ufffd\0", None),
        (b"\xff\x00", "text/plain; charset=undefined", "\ufffd\0", None),
        (b"a", "text/plain; charset=idna", "a", None),
        (b"\\ud800", "text/plain; charset=raw_unicode_escape", "\ufffd", None),
        (b"[1]", "application/vnd.api+json", "[1]", [1]),
        (b"[1]", "text/html", "[1]", None),
        (b"{", "application/json", "{", None),
    ],
)
async def test_bodies_of_all_kinds(
    nodes: Nodes, site: Site, body: bytes, content_type: str, text: str, json: object
) -> None:
    site["/"] = answer(body=body, content_type=content_type)
    output = await nodes.run("http", config(site, "/"))
    assert (output["body"], output["json"]) == (text, json)


@pytest.mark.parametrize(
    ("status", "method", "retryable"),
    [
        ("404 Not Found", "GET", False),
        ("500 Oops", "GET", True),
        ("500 Oops", "POST", False),
        ("429 Slow Down", "POST", True),
        ("503 Busy", "POST", True),
        ("502 Gone", "DELETE", True),
        ("401 Who", "GET", False),
    ],
)
async def test_bad_statuses_fail_and_are_retried_where_that_is_safe(
    nodes: Nodes, site: Site, status: str, method: str, retryable: bool
) -> None:
    site["/secret-path"] = answer(status, b"why", retry_after="7")
    failure = await nodes.failure("http", config(site, "/secret-path", method=method, query={"token": "s3cret"}))
    assert failure.code == "http_status"
    assert failure.retryable is retryable
    assert failure.details == {"status": int(status[:3]), "body": "why", "retry_after": "7"}
    assert "secret" not in failure.message
    assert "s3cret" not in failure.message


@pytest.mark.parametrize("listed", [[404], ["404"], ["4xx"]])
async def test_listed_statuses_are_fine(nodes: Nodes, site: Site, listed: list[Any]) -> None:
    site["/"] = answer("404 Not Found", b"none")
    assert (await nodes.run("http", config(site, "/", ok_statuses=listed)))["status"] == 404


async def test_redirects_are_followed_without_credentials_to_another_origin(nodes: Nodes, site: Site) -> None:
    async with serving() as other:
        site["/"] = answer("302 Found", location="/next")
        site["/next"] = answer("307 Temporary", location=f"http://localhost:{other.port}/end")
        other["/end"] = answer(body=b"there")
        headers = {"Authorization": "Bearer x", "X-Api-Key": "k", "Accept": "text/x"}
        output = await nodes.run("http", config(site, "/", headers=headers))
        assert output["body"] == "there"
        assert "x-api-key: k" in site.requests[1].lower()
        sent = other.requests[0].lower()
        assert "x-api-key" not in sent
        assert "authorization" not in sent
        assert "accept: text/x" in sent


async def test_a_redirect_can_be_the_answer(nodes: Nodes, site: Site) -> None:
    site["/"] = answer("302 Found", location="/next")
    output = await nodes.run("http", config(site, "/", follow_redirects=False))
    assert (output["status"], output["headers"]["location"]) == (302, "/next")


async def test_redirects_without_end_fail(nodes: Nodes, site: Site) -> None:
    site["/"] = answer("302 Found", location="/")
    assert "redirects" in (await nodes.failure("http", config(site, "/"))).message


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", "http://169.254.169.254/", "http://[::1]:1/"])
async def test_a_redirect_to_a_private_address_is_refused(nodes: Nodes, site: Site, target: str) -> None:
    site["/"] = answer("302 Found", location=target)
    failure = await nodes.failure("http", config(site, "/"))
    assert failure.code == "address_refused"
    assert not failure.retryable


async def test_a_redirect_to_another_scheme_is_refused(nodes: Nodes, site: Site) -> None:
    site["/"] = answer("302 Found", location="file:///etc/passwd")
    assert (await nodes.failure("http", config(site, "/"))).code == "invalid_url"


async def test_a_flow_may_say_that_it_means_a_private_address(nodes: Nodes, site: Site) -> None:
    site["/"] = answer(body=b"here")
    direct = {"url": f"http://127.0.0.1:{site.port}/"}
    assert (await nodes.failure("http", direct)).code == "address_refused"
    assert (await nodes.run("http", {**direct, "allow_private": True}))["body"] == "here"
    assert (await nodes.failure("http", {**direct, "allow_private": "true"})).code == "address_refused"
    assert (await nodes.failure("http", direct)).code == "address_refused"
    metadata = {"url": "http://169.254.169.254/", "allow_private": True, "timeout": 1}
    assert (await nodes.failure("http", metadata)).code == "address_refused"


class Network:
    """Stands where the sockets begin: tells which addresses are connected to."""

    def __init__(self) -> None:
        self.connected: list[str] = []

    async def connect_tcp(self, host: str, port: int, **options: Any) -> None:
        self.connected.append(host)
        if len(self.connected) < 2:
            raise OSError("nobody there")


async def test_a_name_is_resolved_once_and_only_checked_addresses_are_connected_to() -> None:
    answers = [["127.0.0.1", "93.184.216.34", "10.0.0.1", "93.184.216.35"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    network = Network()
    backend = GuardedBackend(network, guard(resolve=rebinding))
    await backend.connect_tcp("rebind.example", 80)
    assert network.connected == ["93.184.216.34", "93.184.216.35"]
    with pytest.raises(AddressRefused):
        await backend.connect_tcp("rebind.example", 80)
    with pytest.raises(AddressRefused):
        await backend.connect_unix_socket("/run/docker.sock")
    assert len(network.connected) == 2


async def test_the_host_header_is_the_name_and_the_connection_the_address(nodes: Nodes, site: Site) -> None:
    site["/"] = answer(body=b"hi")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    node = HttpNode(nodes.runtime, resolve=resolve)
    output = await node.run(make_call({"url": f"http://named.example:{site.port}/", "allow_private": True}))
    assert output["body"] == "hi"
    assert f"host: named.example:{site.port}" in site.requests[0].lower()


async def test_too_large_an_answer_is_cut_off(nodes: Nodes, site: Site) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    site["/"] = endless
    failure = await nodes.failure("http", config(site, "/"))
    assert failure.code == "limit_exceeded"
    assert sent < 4 * VALUE_LIMIT


async def test_a_compressed_answer_is_inflated_and_a_bomb_refused(nodes: Nodes, site: Site) -> None:
    site["/small"] = answer(body=gzip.compress(b"small"), content_encoding="gzip")
    site["/bomb"] = answer(body=gzip.compress(b"\0" * 200_000_000, 1), content_encoding="gzip")
    site["/odd"] = answer(body=b"?", content_encoding="br")
    site["/bad"] = answer(body=b"no gzip", content_encoding="gzip")
    assert (await nodes.run("http", config(site, "/small")))["body"] == "small"
    assert (await nodes.failure("http", config(site, "/bomb"))).code == "limit_exceeded"
    assert "'br'" in (await nodes.failure("http", config(site, "/odd"))).message
    assert (await nodes.failure("http", config(site, "/bad"))).code == "http_error"


async def test_a_compressed_answer_is_whole_or_none(nodes: Nodes, site: Site) -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    site["/members"] = answer(body=body, content_encoding="gzip")
    site["/rest"] = answer(body=body + b"\0" * 100, content_encoding="gzip")
    site["/cut"] = answer(body=body[:-4], content_encoding="gzip")
    site["/none"] = answer(body=b"", content_encoding="gzip")
    for path in ("/members", "/rest"):
        assert (await nodes.run("http", config(site, path)))["body"] == "one two"
    assert (await nodes.run("http", config(site, "/none")))["body"] == ""
    failure = await nodes.failure("http", config(site, "/cut"))
    assert failure.code == "http_error"
    assert "ends in the middle of its gzip" in failure.message


async def test_what_follows_a_compressed_answer_without_end_is_not_read(nodes: Nodes, site: Site) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"small"))
        while True:
            writer.write(b"\0" * 65_536)
            await writer.drain()

    site["/"] = endless
    async with asyncio.timeout(20):
        assert (await nodes.run("http", config(site, "/")))["body"] == "small"


async def test_the_timeout_is_for_the_whole_exchange(nodes: Nodes, site: Site) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    site["/"] = drip
    failure = await nodes.failure("http", config(site, "/", timeout="50ms"))
    assert failure.code == "http_timeout"
    assert failure.retryable
    failure = await nodes.failure("http", config(site, "/", timeout="50ms", method="POST"))
    assert not failure.retryable


async def test_a_cancelled_request_closes_its_connection(nodes: Nodes, site: Site) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(watch, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        task, _ = nodes.start("http", {"url": f"http://localhost:{port}/"})
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()


async def test_a_connection_that_fails_is_retryable_and_keeps_its_secrets(nodes: Nodes) -> None:
    failure = await nodes.failure("http", {"url": "http://u:pass@localhost:1/path?x=s3cret", "method": "POST"})
    assert failure.code == "http_error"
    assert failure.retryable
    assert failure.error_types == ("ConnectError", "http_error")
    assert not {"pass", "s3cret", "/path"} & set(failure.message.split("/"))


async def test_a_broken_answer_to_a_post_is_not_retried(nodes: Nodes, site: Site) -> None:
    site["/"] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"
    assert not (await nodes.failure("http", config(site, "/", json={}))).retryable
    assert (await nodes.failure("http", config(site, "/"))).retryable


@pytest.mark.parametrize("url", ["", "ftp://x/y", "http://", "//x", "file:///etc/passwd", "http://\0/", "x" * 70_000])
async def test_what_is_no_url_fails_for_good(nodes: Nodes, url: str) -> None:
    failure = await nodes.failure("http", {"url": url})
    assert failure.code == "invalid_url"
    assert not failure.retryable


async def test_cookies_are_not_kept_for_others(nodes: Nodes, site: Site) -> None:
    site["/"] = answer(set_cookie="session=1; Path=/")
    for _ in range(2):
        await nodes.run("http", config(site, "/"))
    assert "cookie" not in site.requests[1].lower()


PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fc00::1", "fd00:ec2::254", "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "192.0.2.1", "198.18.0.1",
]  # fmt: skip


def guard(**options: Any) -> Guard:
    return Guard(**{"allow_private": False, "allow_private_hosts": (), "opted_in": False, **options})


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_every_form(address: str) -> None:
    assert not guard().is_allowed(address)
    assert guard(allow_private=True).is_allowed(address)


@given(st.ip_addresses().filter(lambda ip: ip.is_global and not ip.is_multicast))
def test_public_addresses_are_allowed(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    embedded = [ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "2002::/16", "2001::/32", "::ffff:0:0/96")]
    if not any(ip in net for net in embedded if ip.version == 6):
        assert guard().is_allowed(str(ip))


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("10.0.0.0/8", "10.1.1.1", True),
        ("10.0.0.0/8", "192.168.0.1", False),
        ("Service.internal", "service.internal", True),
        ("service.internal:80", "service.internal", True),
        ("service.internal:81", "service.internal", False),
        ("internal", "service.internal", False),
        ("127.0.0.1", "127.0.0.1", True),
    ],
)
async def test_hosts_that_the_settings_allow(entry: str, host: str, allowed: bool) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return ["10.9.9.9"]

    watch = guard(allow_private_hosts=[entry], resolve=resolve)
    if allowed:
        assert await watch.addresses(host, 80)
    else:
        with pytest.raises(AddressRefused):
            await watch.addresses(host, 80)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost", "LOCALHOST."])
async def test_odd_names_of_loopback_are_seen_through(host: str) -> None:
    with pytest.raises((AddressRefused, OSError)):
        await guard().addresses(host, 80)


@pytest.mark.parametrize(
    "bad",
    [
        {}, {"url": ""}, {"url": "http://x", "nope": 1}, {"url": "http://x", "json": 1, "body": "x"},
        {"url": "http://x", "allow_private": "${input.x}"}, {"url": "http://x", "ok_statuses": [99]},
        {"url": "http://x", "ok_statuses": ["4x"]}, {"url": "http://x", "method": "G T"}, "http://x",
    ],
)  # fmt: skip
def test_bad_configs_are_refused(bad: object) -> None:
    assert not jsonschema_rs.is_valid(HttpNode.config_schema, bad)
