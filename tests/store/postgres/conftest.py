"""Stores that are closed whatever comes of a test: an open one would keep the run from its end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.store.databases import fresh_store
from tests.store.portal import call


@pytest.fixture
def fresh() -> Iterator[Callable[..., Any]]:
    """Makes a store that holds nothing; what it is given is added to the URL's query."""
    made: list[Any] = []

    def make(**words: Any) -> Any:
        made.append(fresh_store(**words))
        return made[-1]

    yield make
    for store in made:
        call(store.close)
