"""How long to wait before asking anew what is away."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from `first_s` up to `most_s`, each shortened by up to half of it.

    Many fail in the same instant; they are not to come back in the same instant too.
    """

    def __init__(self, *, first_s: float = 0.1, most_s: float = 2.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    @property
    def is_fresh(self) -> bool:
        """Whether there was no pause yet, or none since it was reset."""
        return self._next_s == self._first_s

    def pause_s(self) -> float:
        """The next pause, in seconds."""
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, self._most_s)
        return pause_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = self._first_s
