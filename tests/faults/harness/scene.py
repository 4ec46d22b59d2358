"""One scene: a home, its flows, the three ledgers, and the verdict at the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from perdure.store.sqlite.connection import integrity_problems
from tests.faults.harness.api import Api
from tests.faults.harness.checker import Evidence, check, require_clean
from tests.faults.harness.hearing import contradictions, streamed, unfinished_business
from tests.faults.harness.ledger import Acknowledgement, Boot, Effect, Ledger
from tests.faults.harness.processes import Process, alive, marked
from tests.faults.harness.server import Server
from tests.faults.harness.store import Facts, database, read_facts, unfinished
from tests.faults.harness.stream import Follower
from tests.faults.harness.waiting import TooLate, until

FLOWS = Path(__file__).parents[1] / "flows"


class Scene:
    """A folder with everything in it; the server is not started yet."""

    def __init__(self, place: Path, *, home: Path | None = None) -> None:
        self.place = place
        self.home = home or place / "home"
        shutil.copytree(FLOWS, place / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        self.acknowledgements = Ledger(place / "acknowledgements.jsonl", Acknowledgement)
        self.effects = Ledger(place / "effects.jsonl", Effect)
        self.boots = Ledger(place / "boots.jsonl", Boot)
        self.server = Server(home=self.home, flows=place / "flows", log=place / "server.log", boots=self.boots)
        self.mark = f"FAULTS_SCENE={place}"
        name, _, value = self.mark.partition("=")
        self.server.environment[name] = value
        self.api = Api(lambda: self.server.url, self.acknowledgements)
        self._followers: list[Follower] = []

    @property
    def ledger(self) -> str:
        """Where shell nodes write their effects: an input of their flows."""
        return str(self.effects.path)

    def gate(self, name: str) -> Path:
        """A file that does not exist yet; nodes that wait for it go on when it is touched."""
        return self.place / name

    def follow(self, execution: str) -> Follower:
        follower = Follower(lambda: self.server.url, execution)
        self._followers.append(follower)
        return follower

    def new_api(self, url: str | None = None) -> Api:
        """Another client, for another thread; with `url`, behind a proxy."""
        return Api((lambda: url) if url is not None else (lambda: self.server.url), self.acknowledgements)

    def settle(self, *, within_s: float = 60) -> None:
        """Everything accepted comes to its end, by itself."""
        path = database(self.home)
        try:
            until(lambda: unfinished(path) == 0, within_s=within_s, what="all executions end")
        except TooLate as error:
            raise TooLate(f"{error}\n{unfinished_business(self.api, self.facts())}") from None

    def facts(self) -> Facts:
        return read_facts(database(self.home))

    def verdict(self, *, within_s: float = 60, ignore: Sequence[str] = ()) -> Facts:
        """Heal, stop, look at everything from outside.

        `ignore` names beginnings of findings that the scene brings about itself. Raises AssertionError.
        """
        self.settle(within_s=within_s)
        findings = contradictions(self.api, self.facts(), recorded_in="file")
        findings += [finding for follower in self._followers for finding in streamed(follower)]
        before = self.processes()
        assert self.server.stop() == 0, self.server.log_text()[-4000:]
        findings += [f"B: process {one.pid} outlived the server" for one in alive([*before, *self.processes()])]
        findings += [f"B: process {one.pid} of a node outlived the server" for one in alive(self._of_nodes())]
        facts = self.facts()
        findings += [f"I: {problem}" for problem in integrity_problems(database(self.home))]
        evidence = Evidence(
            facts=facts,
            acknowledgements=self.acknowledgements.lines(),
            effects=self.effects.lines(),
            boots=self.boots.lines(),
        )
        findings += check(evidence)
        require_clean([one for one in findings if not one.startswith(tuple(ignore))] if ignore else findings)
        return facts

    def processes(self) -> list[Process]:
        """Everything alive that belongs to this scene's servers, whoever started it."""
        return marked(self.mark)

    def close(self) -> None:
        self.api.close()
        for follower in self._followers:
            follower.stop()
        self.server.clean_up()

    def _of_nodes(self) -> list[Process]:
        return [Process(effect.pid, effect.started) for effect in self.effects.lines() if effect.started]
