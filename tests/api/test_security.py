"""Who reaches what: open on loopback until the first token, and never to another site's pages."""

from __future__ import annotations

import asyncio
import sys
from html import escape
from pathlib import Path

import pytest

from perdure.api import pieces
from perdure.api.routes import ROUTES
from perdure.auth.tokens import new_secret, secret_hash
from perdure.base.clock import to_rfc3339
from perdure.errors import InsecureAddress
from perdure.server import Server
from tests.api.conftest import Opened
from tests.api.sse import Message, Still, Stream, opened
from tests.api.world import API, World, settings


async def make(world: World, role: str, **fields: object) -> tuple[str, str]:
    """A token's id and secret."""
    response = await world.ask("POST", "/tokens", {"name": f"a {role}", "role": role, **fields})
    assert response.status_code == 201, response.text
    return response.json()["id"], response.json()["secret"]


async def last_of(stream: Stream) -> Message | None:
    """The last message before the server closed the stream."""
    last = None
    while (message := await stream.next()) is not None:
        last = message
    return last


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]:80"]
)
async def test_an_open_server_answers_to_no_name_but_loopback(world: World, host: str) -> None:
    response = await world.ask("GET", "/flows", headers={"host": host})
    assert (response.status_code, response.json()["code"]) == (421, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
async def test_an_open_server_answers_to_every_name_of_loopback(world: World, host: str) -> None:
    assert (await world.ask("GET", "/flows", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://localhost"]
)
async def test_pages_of_other_sites_may_neither_start_nor_listen(world: World, origin: str) -> None:
    start = await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"origin": origin})
    listen = await world.ask("GET", "/events", headers={"origin": origin})
    for response in (start, listen):
        assert (response.status_code, response.json()["code"]) == (403, "origin_refused")
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_pages_of_the_server_itself_may(world: World) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"origin": world.server.url})
    assert response.status_code in {200, 202}


async def test_the_first_token_closes_the_server_at_once(open_world: Opened) -> None:
    async with open_world() as world:
        assert (await world.ask("GET", "//system/info")).json()["open"] is True
        async with opened(world, "/events") as stream:
            _, secret = await make(world, "admin")
            last = await last_of(stream)
            assert last is not None
            assert last.comment == "the token is no longer good"
        assert (await world.ask("GET", "/flows")).status_code == 401
        info = await world.ask("GET", "//system/info", headers=bearer(secret))
        assert info.json()["open"] is False
        # Now that callers prove themselves, the server may have any name.
        assert (
            await world.ask("GET", "/flows", headers={**bearer(secret), "host": "perdure.example"})
        ).status_code == 200


async def test_a_closed_server_stays_closed_after_a_restart(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await make(world, "admin")
    async with Server(settings(tmp_path)) as server:
        assert await server.services.authority.is_open() is False


async def test_a_secret_is_shown_once_and_kept_as_its_hash(open_world: Opened) -> None:
    async with open_world() as world:
        _, secret = await make(world, "admin")
        listed = await world.ask("GET", "/tokens", headers=bearer(secret))
        assert secret not in listed.text
        [record] = await world.server.engine.store.tokens.list()
        assert record.sha256 == secret_hash(secret)


async def test_a_revoked_token_is_refused_and_its_streams_end(open_world: Opened) -> None:
    async with open_world() as world:
        _, admin = await make(world, "admin")
        world.http.headers.update(bearer(admin))
        id, viewer = await make(world, "viewer")
        assert (await world.ask("GET", "/flows", headers=bearer(viewer))).status_code == 200
        async with (
            opened(world, "/events", authorization=f"Bearer {viewer}") as stream,
            opened(world, "/events") as other,
        ):
            assert (await world.ask("DELETE", f"/tokens/{id}")).status_code == 204
            async with asyncio.timeout(1):
                last = await last_of(stream)
            assert last is not None
            assert last.comment == "the token is no longer good"
            await world.finished("api/quick")
            assert await other.events(1)
        assert (await world.ask("GET", "/flows", headers=bearer(viewer))).status_code == 401
        assert (await world.ask("DELETE", f"/tokens/{id}")).status_code in {204, 404}


async def test_an_expired_token_is_refused_and_its_streams_end(open_world: Opened) -> None:
    async with open_world() as world:
        _, admin = await make(world, "admin")
        world.http.headers.update(bearer(admin))
        soon = world.server.clock.now() + 1_500_000
        from_clock = await make(world, "viewer", expires_at=to_rfc3339(soon))
        async with opened(world, "/events", authorization=f"Bearer {from_clock[1]}") as stream:
            async with asyncio.timeout(10):
                last = await last_of(stream)
            assert last is not None
            assert last.comment == "the token is no longer good"
        assert (await world.ask("GET", "/flows", headers=bearer(from_clock[1]))).status_code == 401
        late = await world.ask("POST", "/tokens", {"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"})
        assert late.json()["errors"][0]["pointer"] == "/expires_at"


async def test_an_unknown_role_is_refused(world: World) -> None:
    response = await world.ask("POST", "/tokens", {"name": "x", "role": "vewer"})
    assert response.status_code == 422
    assert "did you mean 'viewer'" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_server_without_tokens_does_not_listen_beyond_loopback(tmp_path: Path, host: str) -> None:
    server = Server(settings(tmp_path, host=host))
    with pytest.raises(InsecureAddress, match="perdure token create"):
        await server.start()


async def test_a_server_with_a_token_listens_anywhere(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        _, secret = await make(world, "admin")
    async with Server(settings(tmp_path, host="0.0.0.0")) as server:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(f"GET /api/v1/flows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()


async def test_artifacts_are_handed_out_as_files_that_run_nowhere(world: World) -> None:
    execution = await world.finished("api/files")
    listed = (await world.ask("GET", f"/executions/{execution['id']}/artifacts")).json()["data"]
    page = next(entry for entry in listed if entry["name"].endswith("page.html"))
    response = await world.http.get(page["url"])
    assert response.content == b"<script>"
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("sandbox")


async def test_an_artifact_whose_file_is_gone_is_not_found(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        execution = await world.finished("api/files")
        listed = (await world.ask("GET", f"/executions/{execution['id']}/artifacts")).json()["data"]
        for file in (tmp_path / "artifacts").rglob("*"):
            if file.is_file():
                file.unlink()
        response = await world.http.get(listed[0]["url"])
        assert (response.status_code, response.json()["code"]) == (404, "artifact_not_found")


async def test_a_reader_of_a_file_that_stands_still_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "STALL_S", 0.2)
    await world.put(
        {
            "id": "api/large",
            "nodes": {"write": {"shell": 'head -c 30000000 /dev/zero > "$PERDURE_ARTIFACTS/large.bin"'}},
        }
    )
    execution = await world.finished("api/large")
    [large] = (await world.ask("GET", f"/executions/{execution['id']}/artifacts")).json()["data"]
    assert large["size_bytes"] == 30_000_000
    still = Still(world, large["url"].removeprefix(API))
    try:
        await still.ask()
        await still.cut()
        assert len(await still.drain()) < 30_000_000
    finally:
        still.close()


async def test_the_reference_page_needs_no_other_host(world: World) -> None:
    response = await world.ask("GET", "//docs")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http://" not in response.text
    assert "https://" not in response.text


async def test_the_reference_page_says_everything_without_a_script(world: World) -> None:
    text = (await world.ask("GET", "//docs")).text
    plain = text[text.index("<main>") : text.index("</main>")]
    assert "<script" not in plain
    assert 'href="/openapi.json"' in plain
    for route in ROUTES:
        assert f"<code>{route.method} {route.path}</code>" in plain
        assert f"<td>{escape(route.summary)}</td>" in plain
    problem = (await world.ask("GET", "/executions/0")).json()
    assert f'id="{problem["type"].removeprefix("/docs#")}"' in plain


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_the_log_of_a_failure_shows_no_variables(log_format: str, tmp_path: Path) -> None:
    """A frame of a failed request holds its headers and its input."""
    code = (
        "import structlog; from pathlib import Path; from perdure.log import configure_logging\n"
        "from perdure.settings import ServerSettings\n"
        f"configure_logging(ServerSettings(home=Path({str(tmp_path)!r}), log_format={log_format!r}))\n"
        "def failing(headers): raise RuntimeError('as it was told')\n"
        "try: failing({'authorization': 'Bearer ' + 'perdure_' + 'x' * 43})\n"
        "except RuntimeError: structlog.get_logger().exception('request failed')\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, written = await process.communicate()
    assert process.returncode == 0
    assert b"as it was told" in written
    assert b"failing" in written
    assert b"perdure_xxx" not in written


def test_secrets_have_256_random_bits() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) == len("perdure_") + 43 for secret in secrets)
