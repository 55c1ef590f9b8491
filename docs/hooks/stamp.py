"""Finish a just executed notebook: `python stamp.py NOTEBOOK`.

Writes into it where and with what it ran (nbclient has recorded Python's version and the time of every cell),
and joins what one cell printed: the kernel sends it in as many pieces as its buffer happened to be emptied.
"""

import itertools
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version

import nbformat

path = sys.argv[1]
notebook = nbformat.read(path, as_version=4)
for cell in notebook.cells:
    outputs = []
    for key, group in itertools.groupby(
        cell.get("outputs", []), lambda output: output.get("name", id(output))
    ):
        first, *rest = group
        if isinstance(key, str):  # a stream's name
            first.text += "".join(output.text for output in rest)
        outputs.append(first)
    if cell.cell_type == "code":
        cell.outputs = outputs
notebook.metadata["executed"] = {
    "date": datetime.now(UTC).date().isoformat(),
    "torch": version("torch"),
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
}
nbformat.write(notebook, path)
