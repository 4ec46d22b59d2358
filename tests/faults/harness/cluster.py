"""Many processes on one PostgreSQL, each behind a wire of its own, and the verdict at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from tests.faults.harness.api import Api
from tests.faults.harness.checker import LAST_BREATH, Evidence, check, require_clean
from tests.faults.harness.clock import WallClock
from tests.faults.harness.hearing import contradictions, streamed, unfinished_business
from tests.faults.harness.ledger import Acknowledgement, Boot, Effect, Harm, Ledger
from tests.faults.harness.link import Link
from tests.faults.harness.postgres_store import damage, execute, read_facts, rows, unfinished
from tests.faults.harness.processes import Process, alive, marked
from tests.faults.harness.scene import FLOWS
from tests.faults.harness.server import Server
from tests.faults.harness.stalls import Stalls
from tests.faults.harness.store import Facts, Row
from tests.faults.harness.stream import Follower
from tests.faults.harness.waiting import TooLate, now_us, until
from tests.postgres_server import Postgres, free_port

LEASE_S = 3.0
TAKEN_OVER_S = 30.0
"""Within which others have what a lost worker owned, on a machine that is busy with other tests."""
CLOCKS_APART = 5_000
"""Microseconds. A process learns the store's time from the round trips of its heartbeats; half of the best one, and 200 µs
for each second since, is the most that it can be wrong by (`perdure.store.clock`). That is 200 µs on a quiet machine; the
first round trip of a process that starts on a busy one may take 10 ms."""
LETS_GO = "this worker lets go of all it owns"
STALLED = 500_000
"""Microseconds of a lease for which the machine stood still: that may cost it. A heartbeat is due every 0.6 s, and a worker
lets go after 2 s without one that came through; what is shorter it has to stand."""
CROWDED = 4.0
"""Threads for each core that want to run, on average of a lease: nobody can promise a worker its turn then."""
SERVER = ("serve",)
API_ONLY = ("serve", "--no-worker")
WORKER = ("worker",)


class Member(msgspec.Struct, frozen=True):
    """A process and its wire to the database."""

    server: Server
    link: Link
    clocks: list[WallClock] = []
    """What it goes by, if not by the machine's clock."""

    @property
    def url(self) -> str:
        return self.server.url

    def go_by(self, clock: WallClock) -> None:
        """From its next start on."""
        self.server.environment |= clock.environment
        self.clocks.append(clock)

    def meant(self, told: int) -> list[int]:
        """The true times (microseconds) that its log may mean."""
        return [told, *(at for clock in self.clocks for at in clock.meant(told))]


class Cluster:
    """A database of its own and a folder with everything else; nobody is a member yet."""

    def __init__(self, place: Path, postgres: Postgres, *, fsync: bool = False) -> None:
        """With `fsync` the database goes on with it after its crashes."""
        self.place = place
        self.fsync = fsync
        self.postgres = postgres
        self.database = f"faults_{uuid4().hex[:12]}"
        postgres.run(f"CREATE DATABASE {self.database}")
        shutil.copytree(FLOWS, place / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        self.acknowledgements = Ledger(place / "acknowledgements.jsonl", Acknowledgement)
        self.effects = Ledger(place / "effects.jsonl", Effect)
        self.boots = Ledger(place / "boots.jsonl", Boot)
        self.harms = Ledger(place / "harms.jsonl", Harm)
        self.members: dict[str, Member] = {}
        self.api = Api(lambda: self._anybody().url, self.acknowledgements)
        self._followers: list[Follower] = []
        self._stalls = Stalls().start()

    @property
    def url(self) -> str:
        """The database itself, past all wires."""
        return self.postgres.url(self.database)

    @property
    def ledger(self) -> str:
        """Where shell nodes write their effects: an input of their flows."""
        return str(self.effects.path)

    @property
    def mark(self) -> str:
        return f"FAULTS_SCENE={self.place}"

    def member(self, name: str, *role: str, database_port: int | None = None, query: str = "") -> Member:
        """One more, not started yet. `database_port`: another one than the database's own, where a proxy stands before it."""
        link = Link(database_port or self.postgres.port)
        server = Server(
            home=self.place / "homes" / name, flows=self.place / "flows", log=self.place / f"{name}.log",
            boots=self.boots, role=role or SERVER, port=free_port(),
        )  # fmt: skip
        words = f"pool=3&sslmode=disable{query and '&' + query}"
        server.environment |= {
            "FAULTS_SCENE": str(self.place),
            "PERDURE_STORE": self.postgres.url(self.database, port=link.port, query=words),
            "PERDURE_LEASE": f"{LEASE_S:g}s",
            "PERDURE_WORKER_NAME": name,
            "PERDURE_GRACE": "500ms",
            "PERDURE_DRAIN": "2s",
            "PERDURE_POOL_SIZE": "2",
        }
        member = Member(server, link)
        self.members[name] = member
        return member

    def start(self, *members: Member) -> None:
        """All at once, the first one first: it makes the tables."""
        for one in members:
            one.server.start(ready=one is members[0])
        for one in members[1:]:
            one.server.wait_ready()

    def gate(self, name: str) -> Path:
        """A file that does not exist yet; nodes that wait for it go on when it is touched."""
        return self.place / name

    def follow(self, execution: str, member: Member) -> Follower:
        follower = Follower(lambda: member.url, execution)
        self._followers.append(follower)
        return follower

    def new_api(self, member: Member) -> Api:
        return Api(lambda: member.url, self.acknowledgements)

    def new_api_at(self, url: str) -> Api:
        return Api(lambda: url, self.acknowledgements)

    # What is done to it

    @contextlib.contextmanager
    def harming(self, kind: str) -> Iterator[None]:
        """Notes that what is done within may cost workers what they own."""
        at = now_us()
        try:
            yield
        finally:
            self.harms.append(Harm(kind=kind, at=at, until=now_us()))

    def kill(self, member: Member) -> None:
        with self.harming("killed"):
            member.server.kill()

    def crash_database(self, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """`pg_ctl stop -m immediate`, then again."""
        with self.harming("database"):
            self.postgres.stop("immediate")
            meanwhile()
            self.postgres.start(fsync=self.fsync)

    # What is to be seen of it

    def owner(self, execution: str) -> str | None:
        """The name of the worker that owns it."""
        [row] = self.rows(
            "SELECT w.name FROM executions AS e LEFT JOIN workers AS w ON w.id = e.worker WHERE e.id = $1",
            bytes.fromhex(execution.replace("-", "")),
        )
        name: str | None = row["name"]
        return name

    def begun(self, *executions: str, times: int = 1, within_s: float = TAKEN_OVER_S) -> list[Effect]:
        """The beginnings of these executions' nodes, once there are so many of each."""

        def look() -> list[Effect] | None:
            found = [one for one in self.effects.lines(kind="begin") if one.execution in executions]
            counts = [sum(one.execution == id for one in found) for id in executions]
            return found if all(count >= times for count in counts) else None

        return until(look, within_s=within_s, what=f"the nodes of {len(executions)} executions begin ({times})")

    def rows(self, sql: str, *values: object) -> list[Row]:
        return rows(self.url, sql, *values)

    def execute(self, sql: str) -> None:
        execute(self.url, sql)

    def facts(self) -> Facts:
        return read_facts(self.url)

    def processes(self) -> list[Process]:
        return marked(self.mark)

    def settle(self, *, within_s: float = 60) -> None:
        """Everything accepted comes to its end, by itself."""
        try:
            until(lambda: unfinished(self.url) == 0, within_s=within_s, what="all executions end")
        except TooLate as error:
            raise TooLate(f"{error}\n{unfinished_business(self.api, self.facts())}\n{self.logs()}") from None

    def verdict(self, *, within_s: float = 60, ignore: Sequence[str] = ()) -> Facts:
        """Heal, stop, look at everything from outside.

        `ignore` names beginnings of findings that the scene brings about itself. Raises AssertionError.
        """
        for one in self.members.values():
            one.link.rule = None
            one.link.heal()
        self.settle(within_s=within_s)
        findings = contradictions(self.api, self.facts(), recorded_in="database")
        findings += [finding for follower in self._followers for finding in streamed(follower)]
        findings += self._stopped()
        leases, causeless = self._leases_lost()
        findings += causeless
        facts = self.facts()
        facts.integrity = damage(self.postgres, self.database)
        evidence = Evidence(
            clocks_apart=CLOCKS_APART,
            facts=facts,
            acknowledgements=self.acknowledgements.lines(),
            effects=self.effects.lines(),
            harms=[*self.harms.lines(), *leases],
        )
        findings += check(evidence)
        require_clean([one for one in findings if not one.startswith(tuple(ignore))] if ignore else findings)
        return facts

    def close(self) -> None:
        self._stalls.stop()
        self.api.close()
        for follower in self._followers:
            follower.stop()
        for one in self.members.values():
            one.server.clean_up()
            one.link.close()
        if self.postgres.is_running:
            self.postgres.run(f"DROP DATABASE {self.database} WITH (FORCE)")

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{one.server.log_text()[-3000:]}" for name, one in self.members.items())

    def _leases_lost(self) -> tuple[list[Harm], list[str]]:
        """What workers say of leases that they lost: those that something explains, and findings for the others."""
        found, causeless = [], []
        for name, one in self.members.items():
            for line in one.server.log_text().splitlines():
                if LETS_GO not in line:
                    continue
                told = datetime.fromisoformat(msgspec.json.decode(line)["timestamp"])
                at = min(one.meant(int(told.timestamp() * 1e6)), key=lambda at: abs(now_us() - at))
                since = at - int(LEASE_S * 1e6)
                if self._is_explained(one, since, at):
                    found.append(Harm(kind="lease", at=since, until=at + LAST_BREATH))
                else:
                    busy = f"{self._stalls.stalled(since, at)} µs, {self._stalls.runnable(since, at):.1f} a core"
                    causeless.append(f"L: {name} lost its lease without a cause ({busy}): {line}")
        return found, causeless

    def _is_explained(self, member: Member, since: int, until: int) -> bool:
        """Whether it was harmed in that time, or the machine was too busy for anybody."""
        harmed = any(harm.at <= until and harm.until >= since for harm in self.harms.lines())
        if harmed or member.link.was_bad(since, until):
            return True
        return self._stalls.stalled(since, until) >= STALLED or self._stalls.runnable(since, until) >= CROWDED

    def _anybody(self) -> Member:
        return next(one for one in self.members.values() if one.server.role[0] == "serve" and one.server.running)

    def _stopped(self) -> list[str]:
        """Stop all members that live; nothing of them is left."""
        living = {name: one for name, one in self.members.items() if one.server.running}
        before = self.processes()
        for one in living.values():
            one.server.terminate()
        findings = []
        for name, one in living.items():
            if status := one.server.died(within_s=40):
                findings.append(f"L: {name} ended with {status}:\n{one.server.log_text()[-3000:]}")
        nodes = [Process(effect.pid, effect.started) for effect in self.effects.lines() if effect.started]
        findings += [
            f"B: process {one.pid} outlived the members" for one in alive([*before, *self.processes(), *nodes])
        ]
        with contextlib.suppress(TooLate):
            # A backend notices a moment later that its client is gone.
            until(lambda: not self._connections(), within_s=10, what="all connections end")
        return findings + [f"B: a connection of {name!r} outlived the members" for name in self._connections()]

    def _connections(self) -> list[str]:
        """What the clients of the database call themselves, but for ourselves; autovacuum is none."""
        found = self.rows(
            "SELECT application_name AS name FROM pg_stat_activity "
            "WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            self.database,
        )
        return [row["name"] for row in found]
