"""The explorer is a widget where widgets work, and shows the same figures elsewhere."""

from __future__ import annotations

import sys

import ipywidgets
import pytest
from drawings import data_parallel, in_a_graph, in_a_line, with_passes

from lablib.errors import LabError
from lablib.hardware import Hardware
from lablib.record.trace import Event, Trace
from lablib.views.widgets import explore

MACHINE = Hardware("t4", per_node=4, within="pcie3")
VIEW = "application/vnd.jupyter.widget-view+json"


def parts(widget):
    """Return the slider, or None; and the tabs."""
    children = widget.children
    return (children[0] if len(children) == 2 else None), children[-1]


def test_a_trace_has_the_views_that_it_can_have():
    assert explore(with_passes(), MACHINE).names == ("timeline", "matrix", "hardware")
    assert explore(with_passes()).names == ("timeline", "matrix")
    assert explore(Trace([Event(0, "compute", "compute", 0, 1)])).names == ("timeline",)


def test_outside_a_notebook_the_figures_show_as_they_are():
    bundle = explore(with_passes(), MACHINE)._repr_mimebundle_()
    assert VIEW not in bundle
    assert bundle["text/html"].count("<img") == 3
    for told in ("What each rank did when", "Who sends how much", "1 node with 4 t4"):
        assert told in bundle["text/plain"] and told in bundle["text/html"]


def test_so_they_do_where_there_are_no_widgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert explore(with_passes())._repr_mimebundle_()["text/html"].count("<img") == 2


def test_what_is_not_looked_at_is_not_drawn_until_it_is():
    _, tabs = parts(explore(with_passes(), MACHINE).widget())
    assert ["<img" in page.value for page in tabs.children] == [True, False, False]
    tabs.selected_index = 2
    assert ["<img" in page.value for page in tabs.children] == [True, False, True]


def test_the_slider_chooses_the_steps_and_the_open_tab_follows():
    slider, tabs = parts(explore(data_parallel(steps=6)).widget())
    assert (slider.min, slider.max, slider.value) == (0, 5, (1, 3))
    assert "steps 1 to 3 of 6" in tabs.children[0].value
    slider.value = (4, 4)
    assert "step 4 of 6" in tabs.children[0].value
    tabs.selected_index = 1
    assert "step 4 of 6" in tabs.children[1].value


@pytest.mark.parametrize("trace", [in_a_line(3), data_parallel(steps=1)])
def test_without_steps_to_choose_there_is_no_slider(trace):
    slider, tabs = parts(explore(trace).widget())
    assert slider is None and "<img" in tabs.children[0].value


def test_steps_that_send_nothing_are_told_in_the_tab():
    quiet = [Event(0, "step", f"step {n}", 10 + n, 11 + n) for n in range(4)]
    slider, tabs = parts(explore(Trace([*in_a_line(3), *quiet], ranks=3)).widget())
    tabs.selected_index = 1
    assert "no traffic to draw" in tabs.children[1].value
    slider.value = (0, 3)
    assert "no traffic to draw" in tabs.children[1].value


def test_a_graph_without_waits_can_be_explored():
    assert "critical path is not known" in explore(in_a_graph())._repr_mimebundle_()["text/html"]


def test_what_cannot_be_explored_is_told_at_once():
    with pytest.raises(LabError, match="no events"):
        explore(Trace())
    with pytest.raises(LabError, match="fewer devices"):
        explore(data_parallel(5), MACHINE)


@pytest.mark.timeout(120)
def test_a_notebook_gets_the_widget_and_the_figures_for_where_it_is_read_without_a_kernel(tmp_path):
    # Imported here, because collecting the tests imports this file in every worker.
    import nbformat
    from nbclient import NotebookClient

    code = """
    from lablib.record.trace import Event, Trace
    from lablib.views import widgets
    widgets.explore(Trace([Event(0, "step", f"step {n}", n, n + 1) for n in range(3)]))
    """
    cell = nbformat.v4.new_code_cell("\n".join(line.strip() for line in code.splitlines()))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[0].outputs
    assert VIEW in output.data
    assert "<img" in output.data["text/html"]
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    shown = [model["state"].get("value") for model in models.values()]
    assert output.data[VIEW]["model_id"] in models
    assert any("<img" in str(value) for value in shown)


def test_the_widgets_are_those_of_ipywidgets():
    assert isinstance(explore(data_parallel()).widget(), ipywidgets.VBox)
