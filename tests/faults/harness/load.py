"""Mixed load: every kind of flow, started by threads that insist with idempotency keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from tests.faults.harness.api import Api, Lost, Refused
from tests.faults.harness.ledger import Acknowledgement, Ledger
from tests.faults.harness.waiting import until

Draw = Callable[[Random, str], Mapping[str, Any]]
"""The input of a start, from chance and the path of the ledger."""

Mix = Sequence[tuple[str, int, Draw]]
"""Flow, weight, input."""

MIX: Mix = (
    ("faults/one", 6, lambda random, ledger: {}),
    ("faults/chain", 4, lambda random, ledger: {}),
    ("faults/fan", 3, lambda random, ledger: {"items": list(range(random.randrange(1, 12)))}),
    ("faults/sync", 2, lambda random, ledger: {}),
    ("faults/shell", 2, lambda random, ledger: {"ledger": ledger}),
    ("faults/parent", 2, lambda random, ledger: {}),
    ("faults/nap", 1, lambda random, ledger: {"duration": f"{random.randrange(10, 400)}ms"}),
    ("faults/flaky", 2, lambda random, ledger: {"failures": random.randrange(0, 3)}),
    ("faults/limited", 2, lambda random, ledger: {"key": random.choice("ab")}),
    ("faults/refund", 1, lambda random, ledger: {}),
)


class Load:
    """`threads` clients start executions until told to stop; now and then one is cancelled, or read."""

    def __init__(
        self,
        url: Callable[[], str],
        acknowledgements: Ledger[Acknowledgement],
        *,
        seed: int,
        threads: int = 3,
        ledger: str,
        within_s: float = 60,
        mix: Mix = MIX,
    ) -> None:
        self.errors: list[BaseException] = []
        self.started = 0
        self._url = url
        self._acknowledgements = acknowledgements
        self._ledger = ledger
        self._within_s = within_s
        self._mix = mix
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{seed}-{index}", Random(f"{seed}-{index}")), daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, started: int) -> None:
        """Returns when so many starts were answered in all, or a client has failed (`stop` tells)."""
        until(lambda: self.started >= started or self.errors, within_s=self._within_s, what=f"{started} starts")

    def stop(self) -> None:
        """Returns when the last start is answered. Raises what went wrong in a client."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._within_s + 30)
        if self.errors:
            raise self.errors[0]

    def _run(self, name: str, random: Random) -> None:
        try:
            with Api(self._url, self._acknowledgements) as api:
                count = 0
                while not self._stopping.is_set():
                    count += 1
                    self._step(api, f"{name}-{count}", random)
        except BaseException as error:
            self.errors.append(error)

    def _step(self, api: Api, key: str, random: Random) -> None:
        [(flow, _, draw)] = random.choices(self._mix, weights=[weight for _, weight, _ in self._mix])
        input = draw(random, self._ledger)
        execution = api.start_surely(flow, input, key=key, within_s=self._within_s)["id"]
        self.started += 1
        try:
            if random.random() < 0.1:
                api.cancel(execution)
            elif random.random() < 0.1:
                api.start(flow, input, key=key)
            elif random.random() < 0.1:
                api.execution(execution)
        except Lost:
            return
        except Refused as error:
            if error.status not in {409, 503, 507}:
                raise
