"""A PostgreSQL for the tests of stores, and what they ask it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.postgres_server import Postgres
from tests.served import clean_environ, perdure
from tests.store.portal import call

NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    made = Postgres(tmp_path_factory.mktemp("postgres")).start(fsync=False)
    yield made
    made.stop("immediate")


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URL of a database that nobody has used."""
    name = f"used_by_{next(NUMBERS)}"
    postgres.run(f"CREATE DATABASE {name}")
    return postgres.url(name)


def ask(url: str, sql: str) -> Any:
    """The first column of the first row; nothing for statements that answer nothing."""

    async def run() -> Any:
        connection = await asyncpg.connect(url, server_settings={"search_path": "perdure"})
        try:
            return await connection.fetchval(sql) if sql.startswith("SELECT") else await connection.execute(sql)
        finally:
            await connection.close()

    return call(run)


def store(*args: str, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    """`perdure store …` in a process of its own; with `fault`, it ends at that fault point."""
    environ = clean_environ(Path.cwd()) | ({} if fault is None else {"PERDURE_FAULT": fault})
    return subprocess.run(perdure("store", *args), check=False, capture_output=True, text=True, env=environ)
