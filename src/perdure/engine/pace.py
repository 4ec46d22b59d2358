"""How often a process does what every process does for all: the more of them there are, the more seldom each.

Otherwise looks at timers, at dead workers and at counters grow with the number of processes, until the database does
little else and one short outage is enough for it never to catch up.
"""

from __future__ import annotations

from random import Random

CHORES_SHARED_BY = 20
"""Up to so many workers each does every chore at its own pace; beyond, they do it together at the pace of these."""
SCANS_SHARED_BY = 200
"""Likewise for looks that stand behind hints and find nothing while these arrive."""
LONGEST_S = 60.0
"""A pause is stretched no further than to this, or tenfold: where nearly all die at once, the few that are left look soon, and learn how few."""
SPREAD = (0.75, 1.0)
"""Of a pause: nobody keeps step with others."""
APART_S = 0.005
"""Workers that hear of the same work come for it within this time, not all in the same instant …"""
APART_EACH_S = 0.0001
"""… or within this time for each of them, where they are many."""

LOOK_S = 0.015
"""Between two looks for what very many commit …"""
LOOK_EACH_S = 0.0001
"""… or so much for each of them, whose rows are read."""


class Pace:
    """Times are in seconds."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.alive = 1
        """Workers, as far as is known."""

    @property
    def is_one_of_few(self) -> bool:
        """Whether chores are done by each process as if it were alone."""
        return self.alive <= CHORES_SHARED_BY

    def pause(self, seconds: float) -> float:
        """Between two looks that each process makes for itself."""
        return seconds * self._random.uniform(*SPREAD)

    def scan(self, seconds: float) -> float:
        """Between two looks that find something only when a hint was lost."""
        return self.pause(_stretched(seconds, self.alive / SCANS_SHARED_BY))

    def chore(self, seconds: float) -> float:
        """Between two looks that any other process may make as well."""
        return self.pause(_stretched(seconds, self.alive / CHORES_SHARED_BY))

    def look(self) -> float:
        """Between two looks that nearly always find something."""
        return self.pause(max(LOOK_S, self.alive * LOOK_EACH_S))

    def apart(self) -> float:
        """Before coming for work of which all have heard."""
        return self._random.uniform(0, max(APART_S, self.alive * APART_EACH_S))


def _stretched(seconds: float, factor: float) -> float:
    return max(seconds, min(seconds * factor, max(LONGEST_S, 10 * seconds)))
