"""Run a whole solution and store its outputs, without parts that differ from run to run."""

from __future__ import annotations

from pathlib import Path

from lablib.computer import processes
from lablib.errors import LabError
from lablib.files import write_completely
from lablib.progress_bars import bar

_LONGEST_CELL_S = 120
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run the notebook in a new kernel, in its folder, and store the new outputs in its file.

    Raises LabError, and leaves the file unchanged, if a cell fails without a tag that allows it.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, 4)
    try:
        _run(notebook, path)
    except CellExecutionError as error:
        raise LabError(
            f"A cell of {path.name} fails.", saw=str(error)[-1500:], do="correct it, then run again"
        ) from None
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = list(_joined(filter(_lasts, map(_static, cell.outputs))))
    write_completely(path, nbformat.writes(notebook) + "\n")


def _run(notebook, path):
    from nbclient import NotebookClient

    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    with bar(path.stem, code) as shown:
        client = NotebookClient(
            notebook, timeout=_LONGEST_CELL_S, kernel_name="python3", record_timing=False,
            store_widget_state=False, resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=lambda **_: shown.update(),
        )  # fmt: skip
        # Relative, so that no output contains a path of the author's computer.
        ours = {"LABLIB_HOME": "../.lablib", "LABLIB_GUESSES": "skip"}
        client.execute(env=processes.environment() | ours)


def _static(output):
    """Replace a widget by its picture or text, if it has one."""
    data = output.get("data", {})
    if _WIDGET in data and "text/html" in data:
        del data[_WIDGET]
    return output


def _lasts(output):
    """Return False for progress bars, which are removed."""
    return _WIDGET not in output.get("data", {})


def _joined(outputs):
    """Join text that came in several pieces."""
    last = None
    for output in outputs:
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
            continue
        last = output
        yield output
