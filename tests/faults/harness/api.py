"""A client that keeps a ledger of everything it was promised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2

from tests.faults.harness.ledger import Acknowledgement, Ledger
from tests.faults.harness.waiting import TooLate, now_us, until

TERMINAL = frozenset({"completed", "failed", "cancelled", "timed_out", "abandoned"})
API = "/api/v1"
_PAUSE_S = 0.05


class Refused(AssertionError):
    """The server answered, but not with a 2xx."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url} → {answer.status_code}: {answer.text[:500]}")
        self.status = answer.status_code
        self.headers = answer.headers
        self.problem: dict[str, Any] = {}
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            self.problem = answer.json()


class Lost(Exception):
    """No answer came: what was asked for was done, or not."""


class Api:
    """Used by one thread at a time; the base address is asked for at every call, so that it outlives restarts."""

    def __init__(self, url: Callable[[], str], acknowledgements: Ledger[Acknowledgement]) -> None:
        self._url = url
        self._acknowledgements = acknowledgements
        self._client = httpx2.Client(timeout=60, verify=False)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One call. Raises `Lost` when no answer came."""
        try:
            return self._client.request(method, self._url() + path, **options)
        except httpx2.TransportError as error:
            raise Lost(f"{method} {path}: {error!r}") from error

    def get(self, path: str, **parameters: Any) -> Any:
        """Raises `Refused`, `Lost`."""
        return _body(self.request("GET", API + path, params=parameters))

    def start(
        self,
        flow: str,
        input: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        wait_s: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Start one execution; what comes back is noted as promised. Raises `Refused`, `Lost`."""
        headers = {} if key is None else {"Idempotency-Key": key}
        if wait_s is not None:
            headers["Prefer"] = f"wait={wait_s}"
        body = {"flow": flow, "input": dict(input or {}), **more}
        answer = self.request("POST", f"{API}/executions", json=body, headers=headers, timeout=60 + (wait_s or 0))
        execution: dict[str, Any] = _body(answer)
        execution["replayed"] = answer.headers.get("idempotent-replayed") == "true"
        self._note("start", execution, key)
        return execution

    def start_many(self, starts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Start these (flow, input) with one request; their ids, noted as promised. Raises `Refused`, `Lost`."""
        body = {"executions": [{"flow": flow, "input": dict(input)} for flow, input in starts]}
        begun = _body(self.request("POST", f"{API}/executions/batch", json=body))["data"]
        for execution in begun:
            self._note("start", execution, None)
        return [execution["id"] for execution in begun]

    def start_surely(
        self, flow: str, input: Mapping[str, Any] | None = None, *, key: str, within_s: float = 60
    ) -> dict[str, Any]:
        """Ask with the same key until it is answered, as a good client does across crashes and overload."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return self.start(flow, input, key=key)
            except Lost as error:
                last: Exception = error
            except Refused as error:
                if error.status not in {503, 507}:
                    raise
                last = error
            if time.monotonic() > deadline:
                raise TooLate(f"start of {flow} with key {key}: {last}")
            time.sleep(_PAUSE_S)

    def cancel(self, execution: str, **body: Any) -> dict[str, Any]:
        """Raises `Refused` (409 when it has ended), `Lost`."""
        answer: dict[str, Any] = _body(self.request("POST", f"{API}/executions/{execution}/cancel", json=body))
        self._note("cancel", answer, None)
        return answer

    def execution(self, execution: str, **parameters: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/executions/{execution}", **parameters)
        self._see(answer)
        return answer

    def ended(self, execution: str, *, within_s: float = 60) -> dict[str, Any]:
        """The execution, once it is terminal."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.execution(execution)
            except Lost:
                return None
            return found if found["status"] in TERMINAL else None

        return until(look, within_s=within_s, what=f"execution {execution} ends")

    def becomes(self, execution: str, *statuses: str, within_s: float = 30) -> dict[str, Any]:
        """The execution, once it has one of the statuses."""

        def look() -> dict[str, Any] | None:
            found = self.execution(execution)
            return found if found["status"] in statuses else None

        return until(look, within_s=within_s, what=f"execution {execution} becomes {' or '.join(statuses)}")

    def nodes(self, execution: str) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.get(f"/executions/{execution}/nodes", limit=1000)["data"]
        return runs

    def events(self, execution: str, *, page: int = 500) -> list[dict[str, Any]]:
        """All events, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            answer = self.get(
                f"/executions/{execution}/events", limit=page, **({} if after is None else {"after": after})
            )
            found += answer["data"]
            after = answer["next"]
            if after is None or not answer["data"]:
                return found

    def executions(self, **parameters: Any) -> list[dict[str, Any]]:
        """All executions of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = self.get("/executions", limit=500, **parameters, **cursor)
            found += answer["data"]
            for one in answer["data"]:
                self._see(one)
            if answer["next"] is None:
                return found
            cursor = {"cursor": answer["next"]}

    def _see(self, execution: dict[str, Any]) -> None:
        if execution["status"] in TERMINAL:
            self._note("seen", execution, None)

    def _note(self, kind: str, execution: dict[str, Any], key: str | None) -> None:
        self._acknowledgements.append(
            Acknowledgement(
                kind=kind, execution=execution["id"], status=execution["status"], at=now_us(), key=key,
                finished_at=execution["finished_at"],
            )
        )  # fmt: skip


def _body(answer: httpx2.Response) -> Any:
    if not answer.is_success:
        raise Refused(answer)
    return answer.json()
