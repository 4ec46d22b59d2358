"""The nodes of the order import: real trouble of three kinds, each met in its own way.

Rows that cannot be read (`on_item_error: null`), a lease that somebody else holds for a while
(`retry`), and a sum that does not come out (a handler with `run_if: failed`).
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from perdure import artifact

LEASE = "ledger.lease"
KNOCKS_TO_YIELD = 2
STOCKTAKE_LONGEST_S = 30.0


class BadRow(ValueError):
    """A row that is no order."""


class LeaseTaken(RuntimeError):
    """Somebody else writes in the ledger; try again later."""


class TotalMismatch(ValueError):
    """The orders do not add up to the total that the file states."""


def read_rows(path: str) -> dict[str, Any]:
    """`{rows: [{line, order, customer, amount}, …], total}`; a relative path is looked for beside this module."""
    file = Path(__file__).parent / path
    with file.open(encoding="utf-8", newline="") as text:
        rows = [{"line": number, **row} for number, row in enumerate(csv.DictReader(text), start=2)]
    *orders, last = rows
    if last["order"] != "total":
        raise BadRow(f"{file.name}: the last line states no total")
    return {"rows": orders, "total": last["amount"]}


def parse_row(row: dict[str, Any]) -> dict[str, Any]:
    """The order in cents. Raises BadRow; the flow goes on with null in its place."""
    try:
        cents = int(Decimal(row["amount"]) * 100)
    except InvalidOperation:
        raise BadRow(f"line {row['line']}: {row['amount']!r} is no amount") from None
    return {"order": int(row["order"]), "customer": row["customer"], "cents": cents}


def take_lease() -> str:
    """Make a ledger's folder with a lease in it, held for the stocktake; the folder's path."""
    folder = tempfile.mkdtemp(prefix="perdure-ledger-")
    Path(folder, LEASE).write_text("stocktake\n", encoding="utf-8")
    return folder


def stocktake(folder: str) -> int:
    """Hold the lease until two others have knocked, then give it back; how many knocked."""
    lease = Path(folder, LEASE)
    end = time.monotonic() + STOCKTAKE_LONGEST_S
    knocks = 0
    while knocks < KNOCKS_TO_YIELD and time.monotonic() < end:
        time.sleep(0.01)
        knocks = lease.read_text(encoding="utf-8").count("knock")
    lease.unlink()
    return knocks


def book(folder: str, orders: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Write the orders into the ledger. Raises LeaseTaken while the lease is held, and leaves a knock."""
    lease = Path(folder, LEASE)
    try:
        with lease.open("r+", encoding="utf-8") as held:
            held.seek(0, 2)
            held.write("knock\n")
    except FileNotFoundError:
        pass
    else:
        raise LeaseTaken(f"the ledger is held by {lease.read_text(encoding='utf-8').splitlines()[0]}")
    good = [order for order in orders if order is not None]
    ledger = Path(folder, "ledger.csv")
    with ledger.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["order", "customer", "cents"])
        writer.writeheader()
        writer.writerows(good)
    artifact(ledger, "ledger.csv")
    return {"booked": len(good), "cents": sum(order["cents"] for order in good)}


def check_total(booked: dict[str, Any], total: str) -> None:
    """Raises TotalMismatch when the ledger does not hold what the file states."""
    stated = int(Decimal(total) * 100)
    if booked["cents"] != stated:
        raise TotalMismatch(f"the file states {stated} cents, the ledger holds {booked['cents']}")


def quarantine(
    rows: list[dict[str, Any]], orders: list[dict[str, Any] | None], booked: dict[str, Any]
) -> dict[str, Any]:
    """Publish the rows that were not booked as `rejected.csv`; the summary of the import."""
    rejected = [row for row, order in zip(rows, orders, strict=True) if order is None]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["line", "order", "customer", "amount"])
    writer.writeheader()
    writer.writerows(rejected)
    artifact(text.getvalue().encode(), "rejected.csv")
    return {"booked": booked["booked"], "cents": booked["cents"], "rejected": [row["order"] for row in rejected]}


def clean(folder: str) -> None:
    """Remove the ledger's folder; what is worth keeping was published."""
    shutil.rmtree(folder, ignore_errors=True)
