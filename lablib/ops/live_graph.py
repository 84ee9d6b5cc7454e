"""Show how a delivery goes on: a graph of its jobs that fills in, or lines of text."""

from __future__ import annotations

from lablib.ops.delivery import Delivery, log_end
from lablib.views.notebook_output import in_notebook


class LiveGraph:
    """Call it with the delivery as it is now; call `close` with the delivery at its end.

    In a notebook with widgets it draws the graph, which stays below the cell as the last state.
    Elsewhere it prints a line for each job that starts or ends.
    """

    def __init__(self):
        self._shown = _Widget() if in_notebook() else _Lines()

    def __call__(self, delivery: Delivery) -> None:
        self._shown.show(delivery)

    def close(self) -> None:
        """Remove a graph that was live: the cell shows the delivery itself."""
        self._shown.close()


class _Widget:
    def __init__(self):
        import ipywidgets
        from IPython.display import display

        self._page = ipywidgets.HTML("<p>pushing</p>")
        self._drawn = None
        display(self._page)

    def show(self, delivery):
        state = delivery.jobs, round(delivery.seconds)
        if state != self._drawn:
            self._drawn = state
            self._page.value = delivery.diagram()._repr_mimebundle_()["text/html"]

    def close(self):
        self._page.close()


class _Lines:
    def __init__(self):
        self._states = {}

    def show(self, delivery):
        for job in delivery.jobs:
            before = self._states.get(job.title, "waiting")
            if job.state != before:
                self._states[job.title] = job.state
                took = f" in {job.seconds:.1f} s" if job.seconds is not None else ""
                print(f"{job.title}: {job.state}{took}")
                if job.state == "failed":
                    print(log_end(job))

    def close(self):
        pass
