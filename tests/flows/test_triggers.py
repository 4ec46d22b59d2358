"""Cron expressions: their shape, and that they can fire."""

import pytest

from perdure.flows.triggers import cron_fault


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "0 6 * * 1-5", "*/15 0-23/2 1,15 jan-mar sun", "59 23 31 12 7", "0 0 29 2 *", "0 0 L * *", "0 0 30 2 1", "5/10 * * * mon#2"],
)  # fmt: skip
def test_it_is_accepted(text):
    assert cron_fault(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 fields"), ("* * * *", "4 fields"), ("* * * * * *", "6 fields"), ("*/0 * * * *", "minute"),
        ("60 * * * *", "minute"), ("* 24 * * *", "hour"), ("* * 0 * *", "day"), ("* * * 13 *", "month"),
        ("* * * * 8", "weekday"), ("5-1 * * * *", "minute"), ("a * * * *", "minute"), ("-1 * * * *", "minute"),
        ("1,,2 * * * *", "minute"), ("*-5 * * * *", "minute"), ("0 0 30 2 *", "never fires"), ("0 0 31 4,6 *", "never fires"),
        ("1" * 100 + " * * * *", "minute"),
    ],
)  # fmt: skip
def test_it_is_refused_with_the_reason(text, reason):
    assert reason in (cron_fault(text) or "")
