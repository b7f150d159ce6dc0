"""Runs the notebooks from a clean kernel and stores them with their outputs: `python notebooks/build.py [00_map …]`.

Each NN_name.py (percent format) becomes NN_name.ipynb beside it. Needs `pip install -e ".[notebooks]"`.
"""

import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
LIMIT = 60  # seconds that a notebook may take


def built(source):
    """A notebook from its percent script, run from a clean kernel -> it, and the seconds of each cell."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    seconds, begun = [], {}
    client = NotebookClient(notebook, timeout=10 * LIMIT, resources={"metadata": {"path": str(FOLDER)}})
    client.on_cell_start = lambda cell, cell_index: begun.update({cell_index: time.perf_counter()})
    client.on_cell_executed = lambda cell, cell_index, **_: seconds.append(time.perf_counter() - begun[cell_index])
    client.execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else every run would change every cell
        cell["metadata"] = {}
    notebook["metadata"] = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook, seconds


def main(names):
    """Build those that are named, or all."""
    import nbformat

    for source in sorted(FOLDER.glob("[0-9][0-9]_*.py")):
        if names and source.stem not in names:
            continue
        notebook, seconds = built(source)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(f"{source.stem}: {sum(seconds):.1f} s, the slowest cell {max(seconds):.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
