"""The two clients: async, and sync on a loop of its own."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from perdure.client import blocking
from perdure.client.artifacts import AsyncArtifacts
from perdure.client.blocking_operations import Operations
from perdure.client.executions import AsyncExecutions
from perdure.client.flows import AsyncFlows
from perdure.client.local import running_server_url
from perdure.client.operations import AsyncOperations
from perdure.client.portal import Portal
from perdure.client.profiles import resolve_target
from perdure.client.retries import RetryPolicy
from perdure.client.system import AsyncSystem
from perdure.client.tokens import AsyncTokens
from perdure.client.transport import Transport
from perdure.client.waits import AsyncWaits

DEFAULT_TIMEOUT_S = 30.0


class AsyncClient:
    """A perdure server, by resource: `executions`, `operations`, `waits`, `flows`, `artifacts`, `tokens`,
    `system`.

    Use it as an async context manager, or `close` it.

    Args:
        base_url: `http://host:port`; None takes what the environment or the profile says
            (see `perdure.client.profiles`), else the server that runs on this folder's store, else
            `http://127.0.0.1:8000`. So with `token` and `workspace`.
        timeout_s: seconds for the answer to a call (streams have their own).
        retries: when and how calls are tried again.
        trigger: what starts are recorded as, `api` or `cli`.

    Raises ProfileError, ValueError for a URL that is none, or a token or workspace that no request can carry.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        workspace: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
        trigger: str | None = None,
    ) -> None:
        target = resolve_target(
            os.environ, url=base_url, token=token, workspace=workspace, local_url=running_server_url(os.environ)
        )
        self._transport = Transport(
            target.url,
            token=target.token,
            workspace=target.workspace,
            timeout_s=timeout_s,
            policy=retries or RetryPolicy(),
            trigger=trigger,
        )
        self.executions = AsyncExecutions(self._transport)
        self.flows = AsyncFlows(self._transport)
        self.artifacts = AsyncArtifacts(self._transport)
        self.tokens = AsyncTokens(self._transport)
        self.waits = AsyncWaits(self._transport)
        self.operations = AsyncOperations(self._transport)
        self.system = AsyncSystem(self._transport)

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._transport.base_url

    async def close(self) -> None:
        """Give the connections back; open streams end."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Client:
    """The same as `AsyncClient` for ordinary code: every call returns when it is done, every stream is an iterator.

    Use it as a context manager, or `close` it. It may be used from several threads.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        workspace: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
    ) -> None:
        self._source = AsyncClient(base_url, token=token, workspace=workspace, timeout_s=timeout_s, retries=retries)
        self._portal = Portal()
        self.executions = blocking.Executions(self._portal, self._source.executions)
        self.flows = blocking.Flows(self._portal, self._source.flows)
        self.artifacts = blocking.Artifacts(self._portal, self._source.artifacts)
        self.tokens = blocking.Tokens(self._portal, self._source.tokens)
        self.waits = blocking.Waits(self._portal, self._source.waits)
        self.operations = Operations(self._portal, self._source.operations)
        self.system = blocking.System(self._portal, self._source.system)

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._source.base_url

    def close(self) -> None:
        """Give the connections back and end the loop."""
        self._portal.call(self._source.close())
        self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
