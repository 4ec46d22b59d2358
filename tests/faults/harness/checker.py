"""The outside checker: ledgers against store, promise by promise (T, N, S, K, I; B is `processes`).

Each check is a function from facts to findings, one line of text each, led by the promise that it breaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from tests.faults.harness.api import TERMINAL
from tests.faults.harness.ledger import Acknowledgement, Boot, Effect, Harm
from tests.faults.harness.store import Facts, Row

NODE_ENDS = frozenset({"completed", "failed", "skipped", "cancelled", "timed_out", "orphaned"})
LAST_BREATH = 1_000_000
"""Microseconds for which processes of a dead engine may still be about."""
Run = tuple[str, str, int, str]
"""Execution, node, ordinal, label."""
_END_TYPES = frozenset(f"execution.{status}" for status in TERMINAL)
_NODE_END_TYPES = frozenset(f"node.{status}" for status in NODE_ENDS)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    facts: Facts
    acknowledgements: Sequence[Acknowledgement] = ()
    effects: Sequence[Effect] = ()
    boots: Sequence[Boot] = ()
    harms: Sequence[Harm] = ()
    """What was done where many processes share the work; `boots` are those of the one that has it alone."""
    clocks_apart: int = 0
    """Microseconds by which the store's clock, as its processes estimate it, may differ from that of the effects."""

    def thawed(self, at: int) -> bool:
        """Whether something that stood still had just gone on then."""
        return any(harm.kind == "frozen" and harm.at < at < harm.until + LAST_BREATH for harm in self.harms)


def check(evidence: Evidence) -> list[str]:
    """Everything that is wrong; empty when all promises were kept."""
    return [finding for one in CHECKS for finding in one(evidence)]


def ends(evidence: Evidence) -> Iterator[str]:
    """T: whatever was accepted has ended, once, and as it was told."""
    facts = evidence.facts
    for execution in dict.fromkeys(one.execution for one in evidence.acknowledgements):
        if execution not in facts.executions:
            yield f"T: {execution} was acknowledged and is lost"
    for id, row in facts.executions.items():
        told = [type for chunk in facts.chunks.get(id, ()) for type in chunk.types]
        ending = [type for type in told if type in _END_TYPES]
        if row["status"] not in TERMINAL:
            yield f"T: {id} ({row['flow']}) is {row['status']}, not terminal"
        elif ending != [f"execution.{row['status']}"]:
            yield f"T: {id} is {row['status']}, its events tell of {ending}"
        elif late := [type for type in told[told.index(ending[0]) + 1 :] if type != "execution.tagged"]:
            yield f"T: {id} tells of {late[0]} after its end"
        if row["worker"] is not None and row["status"] in TERMINAL:
            yield f"T: {id} has ended and still has an owner"


def unchanging(evidence: Evidence) -> Iterator[str]:
    """T: a terminal state that anybody was told of is the state for good."""
    facts = evidence.facts
    seen: dict[str, Acknowledgement] = {}
    for one in evidence.acknowledgements:
        if one.status not in TERMINAL:
            continue
        first = seen.setdefault(one.execution, one)
        if (first.status, first.finished_at) != (one.status, one.finished_at):
            yield f"T: {one.execution} was {first.status} ({first.finished_at}), then {one.status} ({one.finished_at})"
    for id, first in seen.items():
        row = facts.executions.get(id)
        if row is not None and row["status"] != first.status:
            yield f"T: {id} was told to be {first.status} and is {row['status']}"


def node_results(evidence: Evidence) -> Iterator[str]:
    """N: every node run of an ended execution has ended, with one event that says so."""
    facts = evidence.facts
    for (id, node, ordinal, label), run in facts.node_runs.items():
        execution = facts.executions.get(id)
        if execution is None:
            yield f"N: a node run {node}[{ordinal}] belongs to no execution ({id})"
        elif execution["status"] in TERMINAL and run["status"] not in NODE_ENDS:
            yield f"N: {id} has ended, its node run {node}[{ordinal}]{label} is {run['status']}"
    told: Counter[str] = Counter()
    for id, chunks in facts.chunks.items():
        told[id] += sum(type in _NODE_END_TYPES for chunk in chunks for type in chunk.types)
    rows = Counter(id for (id, *_), run in facts.node_runs.items() if run["status"] in NODE_ENDS)
    for id in facts.executions:
        if told[id] != rows[id]:
            yield f"N: {id} has {rows[id]} ended node runs and {told[id]} events of such ends"


def effects_once(evidence: Evidence) -> Iterator[str]:
    """N: an attempt begins again only after the process that ran it has died, and under a new epoch."""
    boots = sorted(boot.at for boot in evidence.boots)
    begun: dict[tuple[Run, int], list[Effect]] = {}
    for effect in evidence.effects:
        if effect.kind == "begin":
            begun.setdefault((effect.run, effect.attempt), []).append(effect)
    for ((id, node, ordinal, label), attempt), found in begun.items():
        for one, other in pairwise(sorted(found, key=lambda effect: effect.at)):
            place = f"{id} {node}[{ordinal}]{label} attempt {attempt}"
            # What a dead engine started may have come a moment after the next boot began: the supervisor kills it then.
            crashed = any(one.at - LAST_BREATH < boot <= other.at for boot in boots) or any(
                harm.at <= other.at and one.at - LAST_BREATH < harm.until for harm in evidence.harms
            )
            if not crashed and not _contained(evidence.facts, id):
                yield f"N: {place} had its effect twice without a crash in between"
            elif one.epoch and other.epoch <= one.epoch:
                yield f"N: {place} began again under epoch {other.epoch}, after {one.epoch}"


def _contained(facts: Facts, id: str) -> bool:
    """Whether its node processes died while the server lived: each such crash takes a recovery, too."""
    row = facts.executions.get(id)
    return row is not None and row["crashes"] > 0


def effects_in_order(evidence: Evidence) -> Iterator[str]:
    """N: nothing of an older epoch is felt once a newer one has begun."""
    newest: dict[Run, Effect] = {}
    for effect in sorted(evidence.effects, key=lambda effect: effect.at):
        if not effect.epoch:
            continue
        before = newest.setdefault(effect.run, effect)
        if effect.epoch < before.epoch and not evidence.thawed(effect.at):
            id, node, ordinal, label = effect.run
            yield f"N: {id} {node}[{ordinal}]{label} ({effect.kind}) under epoch {effect.epoch}, {before.epoch} had begun"
        newest[effect.run] = max(before, effect, key=lambda one: one.epoch)


def effects_in_time(evidence: Evidence) -> Iterator[str]:
    """N: nothing of a node is felt after its result, or its execution's end, is on record."""
    facts = evidence.facts
    for effect in evidence.effects:
        run = facts.node_runs.get(effect.run)
        execution = facts.executions.get(effect.execution)
        place = f"{effect.execution} {effect.node}[{effect.ordinal}]{effect.label} ({effect.kind})"
        if execution is None:
            yield f"N: an effect of {place}, whose execution does not exist"
            continue
        if run is None:
            # It began just before a crash, and the execution was ended before it could begin again.
            if execution["status"] == "completed":
                yield f"N: an effect of {place}, which has no node run"
            continue
        if run["status"] == "orphaned":
            continue
        for what, end in (("its result", run["finished_at"]), ("its execution's end", execution["finished_at"])):
            if end is not None and effect.at > end + evidence.clocks_apart and not evidence.thawed(effect.at):
                yield f"N: an effect of {place} came {effect.at - end} µs after {what}"
        if run["status"] == "completed" and effect.attempt > run["attempt"]:
            yield f"N: an effect of {place} in attempt {effect.attempt}, recorded is {run['attempt']}"


def completed_had_effects(evidence: Evidence) -> Iterator[str]:
    """N: a node that keeps a ledger and is recorded as completed did begin and end, in the attempt that is recorded."""
    ended = {(effect.run, effect.attempt) for effect in evidence.effects if effect.kind == "end"}
    begun = {effect.run for effect in evidence.effects}
    for key, run in evidence.facts.node_runs.items():
        if run["status"] == "completed" and key in begun and (key, run["attempt"]) not in ended:
            yield f"N: {key[0]} {key[1]}[{key[2]}] is completed, and never came to its end"


def sequences(evidence: Evidence) -> Iterator[str]:
    """S: events are numbered 1, 2, 3, … without gap, as far as the execution says."""
    facts = evidence.facts
    for id, row in facts.executions.items():
        expected = 1
        for chunk in facts.chunks.get(id, ()):
            if chunk.first != expected:
                yield f"S: {id} has a chunk from seq {chunk.first} where {expected} is next"
            if chunk.last - chunk.first + 1 != len(chunk.types):
                yield f"S: {id} has {len(chunk.types)} events in the chunk {chunk.first}–{chunk.last}"
            expected = chunk.last + 1
        if expected - 1 != row["last_seq"]:
            yield f"S: {id} has events up to {expected - 1}, last_seq is {row['last_seq']}"
    for id in facts.chunks.keys() - facts.executions.keys():
        yield f"S: events of {id}, which does not exist"


def feed(evidence: Evidence) -> Iterator[str]:
    """S: every chunk is once in the feed of all executions, whose commits are numbered without gap."""
    facts = evidence.facts
    last: dict[int, int] = {}
    entered: Counter[tuple[str, int, int]] = Counter()
    for writer, n, entries in facts.feed:
        if writer in last and n != last[writer] + 1:
            yield f"S: the feed of writer {writer} goes from {last[writer]} to {n}"
        last[writer] = n
        entered.update((entry[0].lower(), entry[1], entry[2]) for entry in entries)
    held = {(id.replace("-", ""), chunk.first, chunk.last) for id, chunks in facts.chunks.items() for chunk in chunks}
    for entry, count in entered.items():
        if count > 1 or entry not in held:
            yield f"S: the feed names chunk {entry} {count} times, the store {'has' if entry in held else 'lacks'} it"
    for entry in held - entered.keys():
        yield f"S: chunk {entry} is missing in the feed"


def keys(evidence: Evidence) -> Iterator[str]:
    """K: a key leads to one execution, whoever asks and however often."""
    facts = evidence.facts
    promised: dict[str, str] = {}
    for one in evidence.acknowledgements:
        if one.kind != "start" or one.key is None:
            continue
        first = promised.setdefault(one.key, one.execution)
        if first != one.execution:
            yield f"K: key {one.key} was answered with {first} and with {one.execution}"
    for key, id in promised.items():
        if facts.keys.get(key) != id:
            yield f"K: key {key} was answered with {id}, the store has {facts.keys.get(key)}"
    used = Counter(row["idempotency_key"] for row in facts.executions.values() if row["idempotency_key"] is not None)
    for key, count in used.items():
        if count > 1:
            yield f"K: {count} executions have the key {key}"


def leftovers(evidence: Evidence) -> Iterator[str]:
    """T, B: what has ended is in no queue, holds no slot, waits for nothing."""
    facts = evidence.facts
    for table, owners in facts.belongings.items():
        for id, count in Counter(owners).items():
            status = facts.executions.get(id, {"status": "gone"})["status"]
            if status in TERMINAL or status == "gone":
                yield f"B: {table} has {count} rows of {id}, which is {status}"


def counters(evidence: Evidence) -> Iterator[str]:
    """The counters say what a recount says, which leaves units out."""
    facts = evidence.facts
    recount: Counter[tuple[str, ...]] = Counter(
        (row["workspace"], row["flow"], row["status"], row["trigger_kind"])
        for row in facts.executions.values()
        if not _is_unit(row)
    )
    for table, counted in facts.counted.items():
        for key in sorted(recount.keys() | counted.keys()):
            if recount[key] != counted.get(key, 0):
                yield f"T: {table} say {counted.get(key, 0)} for {key}, there are {recount[key]}"


def families(evidence: Evidence) -> Iterator[str]:
    """N: a node run starts one child per attempt, and no child outlives its parent."""
    facts = evidence.facts
    born: Counter[tuple[object, ...]] = Counter()
    for id, row in facts.executions.items():
        if row["parent"] is None:
            continue
        place = row["parent_node"], row["parent_ordinal"], row["parent_attempt"], row.get("parent_label", "")
        born[row["parent"], *place] += 1
        parent = facts.executions.get(_dashed(row["parent"]))
        if parent is None:
            yield f"T: {id} has lost its parent"
        elif parent["status"] == "completed" and row["status"] not in TERMINAL:
            yield f"T: {id} is {row['status']}, its parent has completed"
    for child, count in born.items():
        if count > 1:
            yield f"N: {count} children of {child[1]}[{child[2]}] attempt {child[3]}"


def integrity(evidence: Evidence) -> Iterator[str]:
    """I: the file is sound, and tags are where their executions say; those of units are in no index."""
    facts = evidence.facts
    if facts.integrity != ["ok"]:
        yield f"I: {'; '.join(facts.integrity)}"
    for id, row in facts.executions.items():
        tags = {} if _is_unit(row) else msgspec.json.decode(row["tags"])
        if tags != facts.tags.get(id, {}):
            yield f"I: {id} has the tags {tags}, the index {facts.tags.get(id, {})}"


def _is_unit(row: Row) -> bool:
    return bool(row.get("kind") == "unit")


def _dashed(id: bytes) -> str:
    text = id.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


CHECKS = (
    ends,
    unchanging,
    node_results,
    effects_once,
    effects_in_order,
    effects_in_time,
    completed_had_effects,
    sequences,
    feed,
    keys,
    leftovers,
    counters,
    families,
    integrity,
)


def require_clean(findings: Iterable[str], *, context: str = "") -> None:
    """Raises AssertionError with all findings."""
    found = list(findings)
    if found:
        shown = "\n".join(found[:50])
        raise AssertionError(f"{len(found)} promises broken{context}:\n{shown}")
