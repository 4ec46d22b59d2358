"""The nodes of the invoice run: ordinary functions, in which one currency is missing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from perdure import artifact

HERE = Path(__file__).parent


def read_invoices(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file beside this module."""
    with (HERE / path).open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def read_rates(path: str) -> dict[str, float]:
    """Euros for one unit, by currency."""
    rates: dict[str, float] = json.loads((HERE / path).read_text(encoding="utf-8"))
    return rates


def convert(invoice: dict[str, str], rate: float) -> dict[str, Any]:
    """The invoice in euros. It says so, so that one sees in the log what really ran."""
    cents = round(float(invoice["amount"]) * 100 * rate)
    print(f"converting {invoice['invoice']} from {invoice['currency']}")
    return {"invoice": invoice["invoice"], "customer": invoice["customer"], "cents": cents}


def post(converted: list[dict[str, Any]]) -> dict[str, Any]:
    """Publish the ledger; how many invoices it holds, and their sum."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["invoice", "customer", "cents"])
    writer.writeheader()
    writer.writerows(converted)
    artifact(text.getvalue().encode(), "ledger.csv")
    return {"invoices": len(converted), "cents": sum(one["cents"] for one in converted)}
