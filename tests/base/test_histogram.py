"""What a histogram says is close to what was put in."""

import math

from hypothesis import given
from hypothesis import strategies as st

from perdure.base.histogram import bucket_of, middle_of, percentiles


@given(st.integers(0, 10**17))
def test_a_bucket_s_middle_is_within_two_percent(value: int) -> None:
    assert abs(middle_of(bucket_of(value)) - value) <= 0.016 * value


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_buckets_are_in_the_order_of_values(one: int, other: int) -> None:
    assert (bucket_of(one) <= bucket_of(other)) or one > other


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_values(values: list[int]) -> None:
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    ordered = sorted(values)
    found = percentiles(counts, (0.5, 0.95, 0.99))
    assert found is not None
    for share, one in zip((0.5, 0.95, 0.99), found, strict=True):
        true = ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
        assert abs(one - true) <= 0.016 * true


def test_nothing_has_no_percentiles() -> None:
    assert percentiles({}, (0.5,)) is None
    assert percentiles({7: 0}, (0.5,)) is None
