"""A file of 600 KiB that is the same each time."""

from pathlib import Path

from perdure import artifact


def publish() -> str:
    path = Path("report.bin")
    path.write_bytes(bytes(range(256)) * 2_400)
    return artifact(path).name
