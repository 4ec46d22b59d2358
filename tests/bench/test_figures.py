"""What figures say of themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.bench.figures import Budget, Figure, RawLimit, Unit, Verdict, percentile, spread
from perdure.bench.report import number


@pytest.mark.parametrize(
    ("value", "unit", "verdict"),
    [
        (2_500, Unit.PER_SECOND, Verdict.AIM),
        (2_499, Unit.PER_SECOND, Verdict.OK),
        (1_500, Unit.PER_SECOND, Verdict.OK),
        (1_499, Unit.PER_SECOND, Verdict.UNDER),
    ],
)
def test_a_rate_is_judged_from_below(value: float, unit: Unit, verdict: Verdict) -> None:
    assert Budget(1_500, 2_500).judge(value, unit) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(2, Verdict.AIM), (2.1, Verdict.OK), (4, Verdict.OK), (4.1, Verdict.UNDER)]
)
def test_a_time_is_judged_from_above(value: float, verdict: Verdict) -> None:
    assert Budget(4, 2).judge(value, Unit.MILLISECONDS) is verdict


def test_a_figure_stands_beside_its_raw_limit() -> None:
    figure = Figure(name="x", unit=Unit.PER_SECOND, value=50, raw=RawLimit("bare", 200))

    assert figure.ratio == 0.25
    assert figure.verdict is None


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)

    found = percentile(ordered, share)

    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (0.1234, "0.123"), (0, "0")]
)
def test_numbers_have_three_figures_or_so(value: float, text: str) -> None:
    assert number(value) == text
