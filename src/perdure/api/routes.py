"""The route table: every path of the native API in one place."""

from __future__ import annotations

from perdure.api.resources import (
    artifacts,
    diffs,
    executions,
    exports,
    fixtures,
    flows,
    history,
    lists,
    live,
    node_runs,
    operations,
    replays,
    starts,
    system,
    tokens,
    waits,
)
from perdure.api.route import Route

__all__ = ["HEALTH_ROUTES", "ROUTES"]

HEALTH_ROUTES = system.HEALTH_ROUTES
"""What a worker without an API answers."""

ROUTES: tuple[Route, ...] = (
    *starts.ROUTES,
    *lists.ROUTES,
    *exports.ROUTES,
    *executions.ROUTES,
    *replays.ROUTES,
    *diffs.ROUTES,
    *fixtures.ROUTES,
    *history.ROUTES,
    *live.ROUTES,
    *node_runs.ROUTES,
    *waits.ROUTES,
    *operations.ROUTES,
    *artifacts.ROUTES,
    *flows.ROUTES,
    *tokens.ROUTES,
    *system.ROUTES,
)
