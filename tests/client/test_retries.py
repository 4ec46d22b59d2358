"""Waiting between tries: jittered, bounded, and as the server asks."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.client.retries import RetryPolicy, retry_after
from tests.client.clocks import FixedClock


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_between_half_and_the_whole_of_its_doubled_backoff(failures: int, jitter: float) -> None:
    policy = RetryPolicy(backoff_s=0.2, longest_backoff_s=5, jitter=lambda: jitter)
    whole = min(0.2 * 2 ** (failures - 1), 5)
    delay = policy.delay(failures)
    assert delay is not None
    assert whole / 2 <= delay <= whole


def test_the_server_s_wish_is_kept_unless_it_is_too_long() -> None:
    policy = RetryPolicy(longest_s=60)
    assert policy.delay(1, 7.0) == 7.0
    assert policy.delay(1, 61.0) is None


def test_retry_after_is_seconds_or_a_date() -> None:
    clock = FixedClock()
    assert retry_after("5", clock) == 5
    assert retry_after("Sun, 22 Nov 2026 12:00:30 GMT", clock) == 30
    assert retry_after("Sun, 22 Nov 2026 11:00:00 GMT", clock) == 0
    assert retry_after("soon", clock) is None
    assert retry_after(None, clock) is None
