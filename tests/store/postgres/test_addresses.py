"""What a URL may say, and what is said of a server that cannot be used: with the reason, without the password."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.clock import DAY
from perdure.errors import (
    InvalidSettings,
    RowRefused,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
)
from perdure.store.commands import StartExecutions
from perdure.store.interface import Batch
from perdure.store.postgres.failures import translated
from perdure.store.postgres.migrate import migrations
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import parse_url
from tests.postgres_server import Postgres, free_port
from tests.store.databases import base_url, fresh_url, new_schema_url, opened, server
from tests.store.portal import Ported
from tests.store.world import WORKSPACE, World

SECRET = "hunter2"


def test_our_own_words_are_taken_out_and_theirs_are_left() -> None:
    address = parse_url(
        "postgresql://me:hunter2@db.example:5433/work?schema=mine&sslmode=require&pool=3&listen=false&prepare=off"
    )
    assert address.dsn == "postgresql://me:hunter2@db.example:5433/work?sslmode=require"
    assert (address.schema, address.pool, address.listen, address.prepare) == ("mine", 3, False, False)
    assert address.place == "db.example:5433/work"


def test_what_is_not_said_has_a_default() -> None:
    address = parse_url("postgres://db/work")
    assert (address.schema, address.pool, address.listen, address.prepare) == ("perdure", 6, True, True)
    assert not address.has_replicas
    assert parse_url("postgresql:///work?host=one,two").has_replicas
    assert parse_url("postgresql://one,two/work").has_replicas


def test_nobody_sees_the_password() -> None:
    address = parse_url(f"postgresql://me:{SECRET}@db/work?password={SECRET}")
    assert SECRET not in repr(address)
    assert SECRET not in address.place


@pytest.mark.parametrize(
    "url",
    [
        "mysql://db/work",
        "sqlite:perdure.db",
        "postgresql://db/work?pool=0",
        "postgresql://db/work?pool=many",
        "postgresql://db/work?pool=9999",
        "postgresql://db/work?listen=maybe",
        "postgresql://db/work?schema=Mine",
        "postgresql://db/work?schema=a;drop",
        "postgresql://db/work?schema=pg_temp",
        "postgresql://db/work?schema=",
        "postgresql://[bad/work",
        "postgresql://db:99999/work",
        "postgresql://db:port/work",
        "postgresql://one:5432,two:0/work",
        "postgresql:///work?host=db&port=70000",
        "postgresql://db/work#fragment",
        "postgresql://db/work?a%20b=c",
    ],
)
def test_a_url_that_says_what_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings):
        parse_url(url)


def place_or_refusal(url: str) -> str:
    try:
        return parse_url(url).place
    except InvalidSettings as error:
        return error.message


@given(st.text("ab1@:/?#[]%&=,", min_size=1, max_size=8))
def test_no_part_of_a_password_that_is_written_wrongly_is_taken_for_a_place(password: str) -> None:
    unreadable = place_or_refusal("postgresql://db:none/work")
    found = place_or_refusal(f"postgresql://me:{password}@db.example:5432/work?pool=2")
    assert found in {"db.example:5432/work", unreadable}, "which repeats nothing of it"


async def test_a_word_that_nobody_knows_is_the_urls_mistake() -> None:
    with pytest.raises(InvalidSettings, match="poool"):
        await PostgresStore.open(fresh_url() + "&poool=3")
    with pytest.raises(InvalidSettings, match="work_mem"):
        await PostgresStore.open(fresh_url() + "&work_mem=much")


async def test_a_schema_may_have_the_name_of_a_word_of_sql() -> None:
    url = f"{base_url()}?schema=user"
    try:
        async with opened(url) as store:
            world = World(Ported(store))
            starting = StartExecutions(at=world.now, executions=[world.new()])
            ((started,),) = (await store.write(Batch(advances=[], commands=[starting]))).results
        async with opened(url) as store:
            assert (await store.executions.get(WORKSPACE, started.id)) is not None
    finally:
        server().run('DROP SCHEMA IF EXISTS "user" CASCADE')


async def test_nobody_answers() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore.open(f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/work")
    assert "127.0.0.1" in caught.value.message
    assert SECRET not in caught.value.message


async def test_somebody_else_answers() -> None:
    """A server that speaks another language, and one that says nothing more after a while."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    with pytest.raises(StoreUnavailable):
        await PostgresStore.open(f"postgresql://me@127.0.0.1:{port}/work")
    other.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("/postgres?", "/nowhere?"), "no such database"),
        (lambda url: url.replace("postgres@", "nobody_here@"), "nobody_here"),
    ],
    ids=["database", "role"],
)
async def test_a_login_that_is_refused_tells_why(change, reason: str) -> None:
    with pytest.raises(StoreUnavailable, match=reason):
        await PostgresStore.open(change(fresh_url()))


async def test_a_wrong_password_is_not_repeated(tmp_path: Path) -> None:
    strict = Postgres(tmp_path / "strict")
    strict.start(fsync=False)
    strict.run("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    (tmp_path / "strict" / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    strict.stop()
    strict.start(fsync=False)
    with pytest.raises(StoreUnavailable, match="password") as caught:
        await PostgresStore.open(f"postgresql://guarded:{SECRET}@127.0.0.1:{strict.port}/postgres")
    strict.stop("immediate")
    assert SECRET not in caught.value.message


async def test_a_role_without_the_privilege_is_told() -> None:
    server().run(
        "DROP ROLE IF EXISTS visitor; CREATE ROLE visitor LOGIN; REVOKE CREATE ON DATABASE postgres FROM public"
    )
    url = f"{base_url()}?schema=not_made_yet".replace("postgres@", "visitor@")
    with pytest.raises(StoreUnavailable, match="privilege"):
        await PostgresStore.open(url)


async def test_a_plain_role_is_enough() -> None:
    """Also for ending its own lost sessions, and for partitions."""
    server().run("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE postgres TO plain")
    url = new_schema_url().replace("postgres@", "plain@")
    async with opened(url) as store:
        lost = store._writer._connection
        assert lost is not None
        server().run(f"SELECT pg_terminate_backend({await lost.fetchval('SELECT pg_backend_pid()')})")
        world = World(Ported(store))
        starting = StartExecutions(at=world.now, executions=[world.new()])
        ((started,),) = (await store.write(Batch(advances=[], commands=[starting]))).results
        assert (await store.executions.get(WORKSPACE, started.id)) is not None
        assert (await store.info())["schema_version"] == len(migrations())
        assert await store.make_partitions(since=world.now - 420 * DAY) > 0
    server().run(f"DROP SCHEMA {parse_url(url).schema} CASCADE; DROP OWNED BY plain; DROP ROLE plain")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40P01", StoreBusy),
        ("40001", StoreBusy),
        ("55P03", StoreBusy),
        ("57014", StoreBusy),
        ("53100", StoreFull),
        ("53200", StoreUnavailable),
        ("53300", StoreUnavailable),
        ("57P01", StoreUnavailable),
        ("57P03", StoreUnavailable),
        ("08006", StoreUnavailable),
        ("25006", StoreUnavailable),
        ("26000", StoreUnavailable),
        ("58030", StoreUnavailable),
        ("XX001", StoreDamaged),
        ("XX002", StoreDamaged),
        ("22021", RowRefused),
        ("23514", RowRefused),
        ("54000", RowRefused),
        ("42601", None),
    ],
)
def test_the_servers_errors_have_names_of_ours(state: str, kind: type[StoreError] | None) -> None:
    error = asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", "C": state, "M": "told"})
    known = translated(error, "db/work")
    assert (None if known is None else type(known)) == kind
    if known is not None:
        assert known.details["sqlstate"] == state


def test_what_is_none_of_the_databases_is_left_alone() -> None:
    assert translated(KeyError("x"), "db/work") is None
    incompatible = StoreIncompatible("old")
    assert translated(incompatible, "db/work") is incompatible
    assert isinstance(translated(ConnectionResetError("gone"), "db/work"), StoreUnavailable)
