"""A cluster for every test, on one PostgreSQL for each process of the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness.cluster import Cluster
from tests.postgres_server import Postgres


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Its process is killed in these tests, the machine is not: the system's own memory is durable enough."""
    made = Postgres(tmp_path_factory.mktemp("postgres"))
    yield made
    made.stop("immediate")


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """Running, with the settings that it comes with."""
    if not server.is_running:
        server.start(fsync=False)
    return server


@pytest.fixture
def cluster(tmp_path: Path, postgres: Postgres) -> Iterator[Cluster]:
    made = Cluster(tmp_path, postgres)
    try:
        yield made
    finally:
        made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Four processes and a database for one test take their time on a machine that is busy with others."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))
