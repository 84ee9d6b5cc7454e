"""The names under which a notebook keeps the inputs and values of its cells: In, Out, _, _3."""

from __future__ import annotations

from typing import Any

from lablib.grading.intake.notebook_file import Cell


class NotebookHistory:
    """Keep these names in a namespace, as IPython does.

    names   the notebook's namespace

    A cell has the number with which it was saved. A cell without a number follows the cell before.
    """

    def __init__(self, names: dict[str, Any]):
        self._names = names
        self._inputs = names["In"] = names["_ih"] = [""]
        self._outputs = names["Out"] = names["_oh"] = {}
        self._number = 0
        self._is_shown = True
        self._last = None

    def begins(self, cell: Cell) -> None:
        """Note that this cell runs now."""
        self._number = cell.count or self._number + 1
        self._is_shown = not cell.source.rstrip().endswith(";")
        missing = self._number + 1 - len(self._inputs)
        self._inputs.extend([""] * missing)
        self._inputs[self._number] = self._names[f"_i{self._number}"] = cell.source

    def keep(self, value: Any) -> None:
        """Keep the value of the cell's last line; this is the cell's `sys.displayhook`."""
        if value is None or not self._is_shown:
            return
        self._outputs[self._number] = self._names[f"_{self._number}"] = value
        if self._names.get("_", self._last) is self._last:  # else `_` is the learner's own variable
            before = {f"_{name}": self._names.get(name) for name in ("__", "_")}
            self._names |= before | {"_": value}
            self._last = value
