"""One scene: a home, its flows, the three ledgers, and the verdict at the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from perdure.store.sqlite.connection import integrity_problems
from tests.faults.harness.api import Api
from tests.faults.harness.checker import Evidence, check, require_clean
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
            raise TooLate(f"{error}\n{self._explained()}") from None

    def facts(self) -> Facts:
        return read_facts(database(self.home))

    def verdict(self, *, within_s: float = 60, ignore: Sequence[str] = ()) -> Facts:
        """Heal, stop, look at everything from outside.

        `ignore` names beginnings of findings that the scene brings about itself. Raises AssertionError.
        """
        self.settle(within_s=within_s)
        findings = self._told()
        findings += [finding for follower in self._followers for finding in self._of_stream(follower)]
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

    def _explained(self) -> str:
        """What the first of the unfinished executions wait for."""
        facts = self.facts()
        lines = [f"{len(facts.unfinished)} unfinished"]
        for id in facts.unfinished[:5]:
            row = facts.executions[id]
            held = {table: owners.count(id) for table, owners in facts.belongings.items() if id in owners}
            why = self.api.get(f"/executions/{id}/why")["summary"]
            told = [type for chunk in facts.chunks.get(id, ()) for type in chunk.types]
            state = {name: row[name] for name in ("flow", "status", "worker", "epoch", "recoveries", "crashes")}
            lines.append(f"{id}: {state} {held}\n    {why}\n    {told[-12:]}")
        return "\n".join(lines)

    def _of_nodes(self) -> list[Process]:
        return [Process(effect.pid, effect.started) for effect in self.effects.lines() if effect.started]

    def _of_stream(self, follower: Follower) -> list[str]:
        follower.ended.wait(20)
        follower.stop()
        return follower.findings()

    def _told(self) -> list[str]:
        """What the API says of every execution, against what the file says."""
        facts = self.facts()
        listed = {one["id"]: one for one in self.api.executions()}
        findings = [f"T: the API does not list {id}" for id in facts.executions.keys() - listed.keys()]
        for id, one in listed.items():
            row = facts.executions.get(id)
            if row is None or one["status"] != row["status"]:
                findings.append(f"T: the API says that {id} is {one['status']}, the file {row and row['status']}")
        # Small pages, so that they begin and end within chunks.
        for id in list(listed)[:40]:
            last_seq = facts.executions[id]["last_seq"]
            seqs = [event["seq"] for event in self.api.events(id, page=min(7 + last_seq // 50, 1000))]
            if seqs != list(range(1, last_seq + 1)):
                findings.append(f"S: the pages of {id} have {seqs}")
        return findings
