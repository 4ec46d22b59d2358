"""The made parts of `docs/concepts/limits.md`: every limit with its number, from the constant that enforces it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from perdure.api import bodies, cursors, feed, findings, listener, queries, streaming, websocket
from perdure.api.resources import executions as execution_routes
from perdure.api.resources import lists, live, lookup, node_runs, starts
from perdure.artifacts import names
from perdure.base import clock, codec, durations, tags
from perdure.base.durations import format_duration
from perdure.engine import hub, sink
from perdure.engine import starts as engine_starts
from perdure.engine.loops import operator
from perdure.engine.settings import EngineSettings
from perdure.flows import (
    documents,
    expressions,
    folder,
    input_schema,
    operators,
    program,
    schema,
    schema_errors,
    templates,
    yaml,
)
from perdure.model import answer, definition, differences
from perdure.nodes import approval, command_size, http, lines, output, published_folder, shell
from perdure.settings import ServerSettings
from perdure.store.procedures import queueing, start
from perdure.wire import executions as wire_executions
from perdure.wire import operations as wire_operations
from perdure.wire import waits as wire_waits
from scripts.references.regions import Maker, table

_SERVER = ServerSettings()


class Limit(NamedTuple):
    what: str
    value: str
    beyond: str = ""


def count(value: int) -> str:
    return f"{value:,}"


def size(value: int) -> str:
    for unit, width in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if value % width == 0:
            return f"{value // width} {unit}"
    return f"{value} bytes"


def seconds(value: float) -> str:
    return format_duration(round(value * clock.SECOND))


def _flows() -> list[Limit]:
    refused = "The document is refused, with the place."
    return [
        Limit("A flow document", size(documents.DOCUMENT_LIMIT), "`limit_exceeded`."),
        Limit("Depth of a YAML document", f"{yaml.MAX_DEPTH} levels", refused),
        Limit("Values in a YAML document, aliases counted where they stand", count(yaml.MAX_VALUES), refused),
        Limit("Digits of an integer in a document", count(codec.DIGITS_LIMIT), refused),
        Limit("Depth of a JSON document, a request's body, a recorded value", f"{codec.DEPTH_LIMIT} levels", refused),
        Limit("Nodes of a flow", count(definition.MAX_NODES), refused),
        Limit("`retry.attempts`", count(schema.MAX_ATTEMPTS), refused),
        Limit("`concurrency.limit`", count(schema.MAX_CONCURRENCY), refused),
        Limit("`rate.limit`", count(schema.MAX_RATE), refused),
        Limit("Tags in `requires`", count(schema.MAX_REQUIRED_TAGS), refused),
        Limit("A duration", format_duration(durations.MAX_DURATION), refused),
        Limit(
            "Members of a document that are looked at for what is wrong",
            count(schema_errors.MAX_PARTS),
            "Those nearest to its root are told of.",
        ),
        Limit("Problems that are listed of one document", count(schema_errors.MAX_FINDINGS), "Mend these first."),
        Limit("Flow files in one folder", count(folder.MAX_FILES), "The rest is not read."),
    ]


def _expressions() -> list[Limit]:
    budget = "The node fails with `expression_budget`."
    return [
        Limit("Characters of one expression", count(expressions.MAX_EXPRESSION), "The flow is refused."),
        Limit(
            "Characters of all expressions of a flow", count(templates.MAX_EXPRESSIONS_LENGTH), "The flow is refused."
        ),
        Limit("Characters of the JSON pointers to them", count(templates.MAX_POINTERS_LENGTH), "The flow is refused."),
        Limit("Steps of one evaluation", count(operators.COST_LIMIT), budget),
        Limit("Values that one expression builds", count(expressions.MAX_BUILT_VALUES), budget),
        Limit("A text that one operation builds", f"{count(operators.MAX_TEXT)} characters", budget),
        Limit("A text that a template builds", f"{count(codec.VALUE_LIMIT)} characters", budget),
    ]


def _executions() -> list[Limit]:
    engine = EngineSettings(home=_SERVER.home)
    return [
        Limit("An input, output, or node's output, as JSON", size(codec.VALUE_LIMIT),
              "A start is refused, a node fails with `limit_exceeded`. Publish a file instead."),
        Limit("A value kept in its row", size(codec.INLINE_LIMIT), "It goes to the artifact folder; readers notice nothing."),
        Limit("Items of one `foreach`", count(definition.MAX_FOREACH_ITEMS), "The node fails with `limit_exceeded`."),
        Limit("Node runs of one execution", count(definition.MAX_NODE_RUNS), "The node fails with `limit_exceeded`."),
        Limit("Units of one node at a time, where it does not say `parallel`", count(definition.MAX_SPREAD), "The others begin as these end."),
        Limit("Depth of child executions", count(definition.MAX_DEPTH), "The node fails with `limit_exceeded`."),
        Limit("Crashes in a row, unless `max_recoveries` says else", count(definition.DEFAULT_MAX_RECOVERIES),
              "One more, and the execution is `abandoned`."),
        Limit("What is asked of a person; an answer, a payload of a signal", size(codec.INLINE_LIMIT),
              "The node fails with `invalid_config`; the answer is refused with `limit_exceeded`."),
        Limit("Message of an approval or a question", f"{count(approval.MAX_MESSAGE)} characters", "It is cut."),
        Limit("Approvers of a wait, and its quorum", count(answer.MAX_APPROVERS), "The flow is refused."),
        Limit("An approver's name", f"{count(approval.MAX_NAME)} characters", "The flow is refused."),
        Limit("Signals of an execution that nothing has taken yet", count(answer.MAX_SIGNALS), "`limit_exceeded`."),
        Limit("Executions that one operation names (a filter chooses any number)", count(wire_operations.MOST_IDS), "The request is refused."),
        Limit("What an operation takes (outputs, an input), as JSON", size(codec.INLINE_LIMIT), "`limit_exceeded`."),
        Limit("Executions in one step of an operation", count(operator.MOST), "Several steps."),
        Limit("An operation that is over is kept for", format_duration(engine.operations_kept), "It is not found any more."),
        Limit("Tags of an execution, its flow's among them", count(tags.MAX_TAGS), "The start is refused."),
        Limit("A tag's key; its value", f"{tags.MAX_TAG_KEY}; {tags.MAX_TAG_VALUE} characters",
              "The start is refused."),
        Limit("An idempotency key", f"{engine_starts.MAX_KEY} characters", "The start is refused."),
        Limit("A start's `trigger_context`, as JSON", size(engine_starts.MAX_CONTEXT), "The start is refused."),
        Limit("How long an idempotency key is remembered", seconds(start.IDEMPOTENCY_WINDOW / clock.SECOND),
              "Later the same key starts anew."),
        Limit("What `concurrency.key` or `rate.key` gives", f"{engine_starts.MAX_COMPUTED_KEY} characters",
              "The start is refused, with the place."),
        Limit("The label that a foreach's `key` gives", f"{program.MAX_LABEL} characters", "It is cut, and ends with …"),
        Limit("A start's `timeout`", format_duration(engine_starts.MAX_TIMEOUT), "The start is refused."),
        Limit("What one level of priority is worth", f"{seconds(queueing.PRIORITY_WORTH / clock.SECOND)} of waiting", ""),
        Limit("Executions that one process owns at once (`--slots`)", count(_SERVER.slots), "The rest stays queued."),
        Limit("Log text of one execution and owner", size(engine.log_limit), "`log.truncated`, once; then no more lines."),
    ]  # fmt: skip


def _nodes() -> list[Limit]:
    return [
        Limit("A line of log", size(lines.MAX_LINE), "The rest of the line is dropped, and counted in its place."),
        Limit("The message of an exception", size(output.MAX_MESSAGE), "It is shortened."),
        Limit("The traceback of an exception", size(output.MAX_STACK), "It is shortened."),
        Limit(
            "Standard output that is a shell node's output", size(shell.TAIL_LIMIT), "The end is kept; `json` is null."
        ),
        Limit(
            "A variable of a shell node with its name, or the text of its command (on Linux)",
            size(command_size.STRING_LIMIT),
            "`limit_exceeded`; give it under `with`, which has no such limit.",
        ),
        Limit("The body of an answer to an `http` node", size(codec.VALUE_LIMIT), "`limit_exceeded`."),
        Limit("Redirects of an `http` node", count(http._MAX_REDIRECTS), "`http_error`."),
        Limit("Time of an `http` exchange, unless `timeout` says else", http._DEFAULT_TIMEOUT, "`http_timeout`."),
        Limit(
            "Files of `$PERDURE_ARTIFACTS`", count(published_folder.MAX_FILES), "`limit_exceeded`; pack them into one."
        ),
        Limit("An artifact's name", f"{names.MAX_NAME} bytes", "It is refused."),
        Limit("An artifact's media type", f"{names.MAX_MEDIA_TYPE} characters", "It is refused."),
    ]


def _delays() -> list[Limit]:
    return [
        Limit(
            "Log lines and progress are stored after",
            seconds(sink.FLUSH_S),
            f"Or {size(sink.FLUSH_BYTES)} of them, if sooner.",
        ),
        Limit("From TERM to KILL (`--grace`)", format_duration(_SERVER.grace), ""),
        Limit(
            "Cleaning up after a cancel or a timeout (`--cleanup-grace`)", format_duration(_SERVER.cleanup_grace), ""
        ),
        Limit("Running attempts when the server stops (`--drain`)", format_duration(_SERVER.drain), ""),
    ]


def _api() -> list[Limit]:
    return [
        Limit("A request's body, inflated", size(bodies.BODY_LIMIT), "`payload_too_large`."),
        Limit("Time for a body to arrive", seconds(bodies.BODY_TIMEOUT_S), "`request_timeout`."),
        Limit("Time for a request's head to arrive", seconds(listener.HEAD_TIMEOUT_S), "The connection is closed."),
        Limit("Problems that are listed of one request", count(findings.LISTED), "Mend these first."),
        Limit("Members of a body; of an input that are looked at for what is wrong",
              f"{count(findings.EXPLAINED_PARTS)}; {count(input_schema.EXPLAINED_PARTS)}", "Those nearest to its root are told of."),
        Limit("Query parameters", count(queries.FIELDS_LIMIT), "`invalid_request`."),
        Limit("A cursor", f"{count(cursors.CURSOR_LIMIT)} characters", "`invalid_cursor`."),
        Limit("Starts in one batch", count(wire_executions.BATCH_LIMIT), "`invalid_request`."),
        Limit("Comment of a response", f"{count(wire_waits.MAX_COMMENT)} characters", "`invalid_request`."),
        Limit("`Prefer: wait=N`", f"{starts.MAX_WAIT_S} s", "More is taken as this."),
        Limit("`count=capped`", count(lists.COUNT_CAP), "`total_capped` is true."),
        Limit("Node runs; artifacts of `include`",
              f"{count(node_runs.RUNS_INCLUDED)}; {count(execution_routes.ARTIFACTS_INCLUDED)}", "List them by their own route."),
        Limit("Values in one answer of a list", size(lookup.ANSWER_BYTES), "The page ends early and has a `next`."),
        Limit("Values of the node runs in a fixture", size(lookup.ANSWER_BYTES), "`limit_exceeded`."),
        Limit("Differences that a diff tells of one value or node", count(differences.MOST), "`more` is true."),
        Limit("A value in a diff, as JSON", f"{count(differences.SHOWN)} characters", "It is cut, and `cut` is true."),
        Limit("A request's line and fields, with its trailer", size(listener.HEAD_LIMIT), "`head_too_large`."),
        Limit("Connections", f"{count(listener.MAX_CONNECTIONS)}, and half of the files that the process may open (`ulimit -n`)", "`too_many_connections`."),
        Limit("Event streams (`--streams`)", count(_SERVER.streams), "`too_many_streams`."),
        Limit("Subscriptions of one WebSocket", count(live.SUBSCRIPTIONS), "`too_many_subscriptions`."),
        Limit("A message of a WebSocket's client", size(websocket.MESSAGE_BYTES), "The connection is closed with 1009."),
        Limit("Time for the first message to say who a WebSocket's caller is", seconds(live.AUTH_S),
              "The connection is closed with 1008."),
        Limit("Silence before a stream is pinged (`--stream-ping`)", format_duration(_SERVER.stream_ping), ""),
        Limit("How long a stream's reader may stand still (`--stream-stall`)", format_duration(_SERVER.stream_stall),
              "The connection is cut; reconnect with the last id."),
        Limit("A stream's frames handed on at once", size(streaming.PIECE), ""),
        Limit("Event rows kept in memory for one subscriber", count(hub.BUFFERED_CHUNKS), "It reads on from the store."),
        Limit("Commits that the feed keeps in memory", f"{count(feed.KEPT_COMMITS)}, or {size(feed.KEPT_BYTES)}",
              "Who is behind reads the store."),
        Limit("How long the feed of all executions goes back",
              format_duration(EngineSettings(home=_SERVER.home).feed_kept), "`event: reset`."),
    ]  # fmt: skip


def _table(limits: Iterable[Limit]) -> str:
    return table(("what", "limit", "beyond"), limits)


MAKERS: dict[str, Maker] = {
    "limits-flows": lambda: _table(_flows()),
    "limits-expressions": lambda: _table(_expressions()),
    "limits-executions": lambda: _table(_executions()),
    "limits-nodes": lambda: _table(_nodes()),
    "limits-delays": lambda: _table(_delays()),
    "limits-api": lambda: _table(_api()),
}
