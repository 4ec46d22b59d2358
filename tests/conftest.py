"""What holds for every test: one event loop as in production, no skips in CI, repeatable properties."""

import os
import signal

import pytest
from hypothesis import settings

from tests.house.no_skips import NoSkips, in_ci

settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if in_ci(os.environ) else "here")


# What is launched by `nohup` or in a script's background ignores these, and all that it starts does so too;
# the programs under test get them as in a terminal.
for one, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(one) is signal.SIG_IGN:
        signal.signal(one, usual)


def pytest_configure(config: pytest.Config) -> None:
    if in_ci(os.environ):
        config.pluginmanager.register(NoSkips(config))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
