"""Lists that fetch their following pages by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar

from perdure.client.transport import Params, Transport

T = TypeVar("T")
PAGE_SIZE = 250


class Page(Protocol, Generic[T]):
    """What every list of the API looks like."""

    @property
    def data(self) -> list[T]: ...
    @property
    def next(self) -> str | None: ...


async def all_pages(
    transport: Transport,
    path: str,
    answer: type[Page[T]],
    *,
    params: Params,
    limit: int | None,
    cursor_name: str = "cursor",
    cursor: str | None = None,
    page_size: int = PAGE_SIZE,
) -> AsyncIterator[T]:
    """The entries of a list, page after page, at most `limit`, from `cursor` on.

    Events and logs call their cursor `after`.
    """
    left = limit
    while left is None or left > 0:
        size = page_size if left is None else min(left, page_size)
        page = await transport.call("GET", path, answer, params={**params, "limit": size, cursor_name: cursor})
        for entry in page.data if left is None else page.data[:left]:
            yield entry
        left = None if left is None else left - len(page.data)
        if page.next is None or page.next == cursor:
            return
        cursor = page.next
