"""What every part knows: where things are, how long it has, and the results so far."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Bench:
    """Where things are, what time is left, and the results."""

    out: Path  # what comes back: few files, none large
    work: Path  # unpacked data and checkpoints, which stay
    data: Path  # CIFAR-10 as an archive, or as a folder
    end: float  # on the clock of `time.monotonic`
    device: str
    quick: bool = False  # toy sizes, to test the script

    def left(self) -> float:
        """Seconds until this part should have stopped."""
        return self.end - time.monotonic()

    def results(self, part: str) -> dict[str, Any]:
        """What is known of a part."""
        path = self.out / "results.json"
        return (json.loads(path.read_text()) if path.exists() else {}).get(part, {})

    def put(self, part: str, **values: Any) -> None:
        """Add to the results of a part, and write them all. Only one process does this at a time."""
        from measure import now  # here, since both take seconds, and the process that only waits puts nothing

        from vit.inference.weights import write_atomic

        path = self.out / "results.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        results.setdefault(part, {}).update(values, date=now())
        write_atomic(path, (json.dumps(results, indent=1) + "\n").encode())
