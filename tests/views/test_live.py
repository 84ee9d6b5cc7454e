"""The live view shows what ranks do; its stop ends a run like an interrupt."""

import threading

import pytest

import lablib as lab
from lablib.record.board import Board
from lablib.views import live


class Told(live.View):
    """A view that stops its run after every rank has shown a given number of steps."""

    def __init__(self, steps):
        super().__init__(every_s=0.0)
        self.least, self.seen = steps, []

    def __call__(self, boards):
        super().__call__(boards)
        self.seen.append(self.rows)
        if all(int(row["steps"]) >= self.least and row["logged"] for row in self.rows):
            # from another thread, like the click of a button
            thread = threading.Thread(target=self.stop)
            thread.start()
            thread.join()


def for_ever(me):
    import torch
    import torch.distributed as dist

    x = torch.ones(1000)
    while True:
        with me.step(samples=1):
            dist.all_reduce(x)
        me.log(loss=0.25, phase="<b>")
        print("rank", me.rank, "is here")


def test_it_shows_every_rank_and_its_stop_ends_the_run_and_the_cluster_goes_on():
    view = Told(steps=2)
    with lab.Cluster(2) as cluster:
        with pytest.raises(KeyboardInterrupt, match="the ranks were stopped"):
            cluster.run(for_ever, watch=view)
        assert cluster.run(lambda me: me.rank).values == [0, 1]
    assert [row["rank"] for row in view.rows] == ["0", "1"]
    for row in view.rows:
        assert row["logged"] == "loss 0.25, phase <b>"
        assert row["last line"].startswith("rank ") and row["role"] == "worker"
    assert any(row["memory"].endswith("B") for rows in view.seen for row in rows)
    assert "stopped" in view.title and "(measured)" in view.title
    assert "loss 0.25" in view.text


def test_what_a_rank_says_is_escaped():
    view = live.View()
    view.rows = [dict.fromkeys(live.COLUMNS, "<script>")]
    assert "<script>" not in view._repr_html_() and "&lt;script&gt;" in view._repr_html_()


def test_a_run_that_ends_by_itself_leaves_its_last_state():
    view = live.View(every_s=60)  # so that it looks only once, at the beginning
    with lab.Cluster(2) as cluster:
        cluster.run(lambda me: me.log(done=1), watch=view)
    assert [(row["state"], row["logged"]) for row in view.rows] == [("returned", "done 1")] * 2
    view.close()
    assert "2 ranks, over" in repr(view)


def test_before_a_run_there_is_nothing_to_show():
    assert live.View().title == "0 ranks, not begun, 0 s (measured)"


def test_training_can_be_watched():
    view = live.View(every_s=0.0)
    lab.train("ddp", ranks=2, steps=2, watch=view)
    assert len(view.rows) == 2


@pytest.mark.parametrize(
    "board, words",
    [
        (Board(), "starting"),
        (Board("running"), "running"),
        (
            Board("waiting", name="recv", line="a/work.py:5"),
            "waits in recv (work.py, line 5)",
        ),
    ],
)
def test_a_state_is_told_in_words(board, words):
    assert live._state(board) == words
