"""The examples' modules, as a flow folder would have them."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

for folder in ("licences", "retries"):
    sys.path.insert(0, str(EXAMPLES / folder))
