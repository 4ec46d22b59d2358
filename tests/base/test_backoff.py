"""Pauses before something is asked anew."""

from __future__ import annotations

from perdure.base.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    backoff = Backoff(first_s=0.1, most_s=0.5)
    for _ in range(2):
        assert backoff.is_fresh
        for bound in (0.1, 0.2, 0.4, 0.5, 0.5):
            assert bound / 2 <= backoff.pause_s() <= bound
            assert not backoff.is_fresh
        backoff.reset()
