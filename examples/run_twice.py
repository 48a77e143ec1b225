"""Runs hello_epiphany.ipynb twice, each time in a new kernel, and tells what each run computed.

The two kernels have nothing in common but a store in a temporary folder.
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("hello_epiphany.ipynb")


def run(folder: str) -> list[tuple[str, str]]:
    """Execute the notebook in `folder`, in a kernel of its own; each step and what became of it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": folder}},
        extra_arguments=["--Application.log_level=ERROR"],
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    badges = [output.get("metadata", {}).get("pipestate", {}) for output in outputs]
    return [(badge["step"], badge["state"]) for badge in badges if badge.get("step")]


def computed(steps: list[tuple[str, str]]) -> str:
    return ", ".join(step for step, state in steps if state == "ran") or "nothing"


with tempfile.TemporaryDirectory() as folder:
    os.environ["PIPESTATE_STORE"] = os.path.join(folder, ".pipestate")
    for title in ("first run, nothing is kept yet", "second run, a new kernel"):
        steps = run(folder)
        print(f"{title}:")
        for step, state in steps:
            print(f"  {step}  {state}")
        print(f"  computed: {computed(steps)}")
