"""Ids sort as they were made, and carry the time that they were given."""

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.ids import id_bytes, id_text, id_time, is_id, new_id

AT = 1_800_000_000_123_456
MILLISECOND = 1_000


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=50))
def test_ids_made_later_sort_later_even_when_the_clock_trembles(moves: list[int]) -> None:
    made = [new_id(AT + move * MILLISECOND) for move in moves]
    assert made == sorted(set(made))


def test_a_clock_that_stands_still_does_not_run_out_of_ids() -> None:
    made = [new_id(AT + 10**12) for _ in range(20_000)]
    assert made == sorted(set(made))
    assert {(UUID(bytes=id).version, UUID(bytes=id).variant) for id in made} == {(7, RFC_4122)}
    assert 0 <= id_time(made[-1]) - (AT + 10**12) // MILLISECOND * MILLISECOND <= MILLISECOND


def test_an_id_carries_the_time_that_it_was_given() -> None:
    assert id_time(new_id(AT + 2 * 10**12)) == (AT + 2 * 10**12) // MILLISECOND * MILLISECOND
    # A clock that was set back by much is believed.
    assert id_time(new_id(AT - 10**12)) == (AT - 10**12) // MILLISECOND * MILLISECOND


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_read_as_it_is_printed_in_either_case(id: bytes) -> None:
    text = id_text(id)
    assert text == str(UUID(bytes=id))
    assert id_bytes(text) == id_bytes(text.upper()) == id


@pytest.mark.parametrize(
    "text",
    ["", "0" * 32, "----" + "0" * 32, "urn:" + "0" * 32, "{" + "0" * 34 + "}", f"{UUID(int=0)}\n", f" {UUID(int=0)}",
     str(UUID(int=0)).replace("0", "\uff10")],
)  # fmt: skip
def test_no_other_spelling_is_an_id(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(ValueError, match="is no id"):
        id_bytes(text)
