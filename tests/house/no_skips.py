"""In CI a test that is skipped, or expected to fail, is a promise that nobody kept: the session fails."""

from collections.abc import Mapping

import pytest

SKIPPED = "perdure_skipped"


def in_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in {"", "0", "false", "no"}


class NoSkips:
    """A pytest plug-in that also sees the skips of xdist's worker processes, at collection too."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._skipped: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self._skipped.update(getattr(node, "workeroutput", {}).get(SKIPPED, ()))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[SKIPPED] = sorted(self._skipped)
        elif self._skipped and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._skipped:
            terminalreporter.section("skipped in CI, which is an error", red=True)
            for nodeid in sorted(self._skipped):
                terminalreporter.line(nodeid)

    def _note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.skipped:
            self._skipped.add(report.nodeid)
