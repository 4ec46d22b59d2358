"""Several processes on one PostgreSQL, as a user would start them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.served import Served, serving
from tests.store.databases import fresh_url

Begin = Callable[..., Served]


@pytest.fixture
def store_url() -> str:
    return fresh_url()


@pytest.fixture
def begin(tmp_path: Path, store_url: str) -> Iterator[Begin]:
    """Start a process by its name: `begin("a", "serve", "--no-worker")`; all are gone at the end of the test."""
    with ExitStack() as stack:

        def begin_one(name: str, command: str, *options: str) -> Served:
            folder = tmp_path / name
            folder.mkdir()
            environ = {
                "PERDURE_STORE": store_url,
                "PERDURE_LEASE": "3s",
                "PERDURE_WORKER_NAME": name,
                "PERDURE_POOL_SIZE": "1",
                "PERDURE_PASS_ENV": "WORKER",
                "WORKER": name,
            }
            return stack.enter_context(serving(folder, *options, environ=environ, command=command))

        yield begin_one
