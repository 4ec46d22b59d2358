"""Executions with a word of their own each, and whether a search finds exactly those that it has to."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx2

from tests.faults.harness.api import API, Api, Lost
from tests.faults.harness.waiting import TooLate, until

AT_ONCE = 500
SEGMENT = 2_048
"""Of so many executions a full segment of the index is made."""
PORTION = 256
"""So few are put into one that has room."""
TRIES = 20


class Haystack:
    """What was acknowledged: word → execution. A word has a hundred neighbours that begin alike."""

    def __init__(self, seed: int) -> None:
        self.ids: dict[str, str] = {}
        self.created: dict[str, str] = {}
        self._random = Random(seed)

    def grow(self, api: Api, count: int) -> None:
        """So many more; what was not acknowledged is not counted upon."""
        for _ in range(0, count, AT_ONCE):
            words = [f"needle{self._random.randrange(16**10):010x}" for _ in range(AT_ONCE)]
            starts = [{"flow": "faults/word", "input": {"word": word}} for word in words]
            try:
                answer = api.request("POST", f"{API}/executions/batch", json={"executions": starts})
            except Lost:
                return
            assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
            for word, one in zip(words, answer.json()["data"], strict=True):
                self.ids[word] = one["id"]
                self.created[one["id"]] = one["created_at"]

    def check(self, api: Api, *, samples: int = 5) -> None:
        """Each of some words is found once, and of a part of all words everything up to `searched_until`, once."""
        for word in self._random.sample(sorted(self.ids), samples):
            found, _ = searched(api, word)
            assert found == [self.ids[word]], word
        part = f"needle{self._random.randrange(16):x}"
        known = {id for word, id in self.ids.items() if word.startswith(part)}
        found, until = searched(api, part)
        assert len(set(found)) == len(found), "nothing is found twice"
        lost = {id for id in known if self.created[id] <= until} - set(found)
        assert not lost, f"{len(lost)} of {len(known)} that were there before {until} are not found"


def searched(api: Api, text: str) -> tuple[list[str], str]:
    """Ids of all pages, and the time up to which the first of them looked. An index that begins anew says so: asked again."""
    for _ in range(TRIES):
        found: list[str] = []
        until_time = ""
        cursor: dict[str, str] = {}
        while True:
            answer = api.request("GET", f"{API}/executions", params={"q": text, "limit": 500, **cursor})
            if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
                assert "search again" in answer.text
                break
            assert answer.status_code == httpx2.codes.OK, answer.text
            page = answer.json()
            found += [one["id"] for one in page["data"]]
            until_time = until_time or page["searched_until"]
            if page["next"] is None:
                return found, until_time
            cursor = {"cursor": page["next"]}
    raise AssertionError("the index never holds still")


def index(api: Api) -> dict[str, Any]:
    """`{status, lag_s, waiting}`"""
    answer = api.request("GET", "/system/info")
    found: dict[str, Any] = answer.json()["search"]
    return found


def catches_up(api: Api, *, within_s: float = 15) -> None:
    """It comes to hold everything, and says so."""

    def is_whole() -> bool:
        now = index(api)
        return now["status"] == "current" and now["waiting"] < PORTION and now["lag_s"] == 0

    try:
        until(is_whole, within_s=within_s, what="the index has everything")
    except TooLate as error:
        raise TooLate(f"{error}: {index(api)}") from None
