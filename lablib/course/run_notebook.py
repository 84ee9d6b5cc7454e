"""Run a solution whole and keep its outputs, without what changes from run to run for no reason."""

from __future__ import annotations

from pathlib import Path

from lablib.computer import processes
from lablib.errors import LabError
from lablib.files import write_completely
from lablib.progress_bars import bar

_LONGEST_CELL_S = 120
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run the notebook in a kernel of its own, in its folder; its file gets the new outputs.

    Raises LabError, and leaves the file as it was, when a cell fails that is not tagged to.
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
        # Relative, so that no path of the author's computer is kept in an output.
        client.execute(env=processes.environment() | {"LABLIB_HOME": "../.lablib"})


def _static(output):
    """A widget that brings a picture or a text for the page leaves only that."""
    data = output.get("data", {})
    if _WIDGET in data and "text/html" in data:
        del data[_WIDGET]
    return output


def _lasts(output):
    """Progress bars go, once their work is done."""
    return _WIDGET not in output.get("data", {})


def _joined(outputs):
    """Text that came in pieces, as one."""
    last = None
    for output in outputs:
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
            continue
        last = output
        yield output
