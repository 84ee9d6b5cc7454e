"""A notebook's cells run in order to find its answers; one bad cell does not stop the others."""

from __future__ import annotations

import pickle
import time
from types import SimpleNamespace

import pytest

from lablib.grading.intake import answer_finder
from lablib.grading.intake.answer_finder import NotebookRun
from lablib.grading.intake.answers import FOUND, Answer
from lablib.grading.intake.candidates import FoundAnswers
from lablib.grading.intake.notebook_file import Cell
from lablib.grading.trial.isolation import Outcome
from lablib.teach.observation import Seen

pytestmark = pytest.mark.timeout(60)
ANSWER = "def double(x):\n    return 2 * x"


def run(*sources, framework="torch"):
    cells = tuple(Cell(at, "code", source) for at, source in enumerate(sources))
    found = NotebookRun(cells, {"9.2": ("double(x)",)})(SimpleNamespace(framework=framework), None)
    return found["answers"].get("9.2", [[]])[0], found["failed"]


def values(*sources, **more):
    """Return the result of each candidate function for 3."""
    return [pickle.loads(one["function"])(3) for one in run(*sources, **more)[0]]


def test_a_value_is_found_by_the_number_with_which_its_cell_was_saved():
    factor, other = Cell(0, "code", "2", count=7), Cell(1, "code", "5", count=3)
    user = Cell(2, "code", "def double(x):\n    return Out[7] * x + len(In) - 8", count=4)
    asked = NotebookRun((factor, other, user), {"9.2": ("double(x)",)})
    found = asked(SimpleNamespace(framework="torch"), None)
    (one,) = found["answers"]["9.2"][0]
    assert pickle.loads(one["function"])(3) == 6


def test_a_name_that_only_the_learners_kernel_knows_is_reported():
    uses = "def double(x):\n    return (lambda: FACTOR * x)()"
    assert run(uses)[0][0]["missing"] == "FACTOR"
    assert run(uses, "FACTOR = 2")[0][0]["missing"] == ""


def test_files_of_cells_are_written_into_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write = "open('factor.txt', 'w').write('2')"
    assert values(write, "FACTOR = int(open('factor.txt').read())", ANSWER) == [6]
    assert run(write)[1] == {} and list(tmp_path.iterdir()) == []


ENDS = {
    "an exit of the process": "import os\nos._exit(0)",
    "a signal": "import os\nos.kill(os.getpid(), 9)",
    "an exit": "raise SystemExit",
    "an interrupt": "raise KeyboardInterrupt",
    "an error": "1 / 0",
    "a question": "input()",
    "closed files": "import os\nos.closerange(3, 99)",
    "deep recursion": "def f():\n    f()\nf()",
    "what it asks of the kit": "from lablib.cluster.cluster import Cluster\nCluster(2)",
}


@pytest.mark.parametrize("what", ENDS)
def test_a_cell_that_fails_costs_only_itself(what):
    assert values("FACTOR = 2", ENDS[what], "def double(x):\n    return FACTOR * x") == [6]
    assert "1" in run(ANSWER, ENDS[what])[1]


ENDLESS = {
    "computes": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "takes no signal": "import signal, time\nsignal.pthread_sigmask(0, {signal.SIGALRM})\n"
                       "time.sleep(1000)",
    "takes every error": "import time\nwhile True:\n    try:\n        time.sleep(1000)\n"
                         "    except BaseException: pass",
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_a_cell_that_does_not_end_costs_its_limit(what, monkeypatch):
    monkeypatch.setattr(answer_finder, "CELL_S", 1)
    monkeypatch.setattr(answer_finder, "_GRACE_S", 1)
    begun_s = time.monotonic()
    assert values(ENDLESS[what], ANSWER) == [6]
    assert time.monotonic() - begun_s < 20


def test_all_cells_together_have_a_limit(monkeypatch):
    monkeypatch.setattr(answer_finder, "NOTEBOOK_S", 2)
    candidates, failed = run(ANSWER, *["import time\ntime.sleep(1.5)"] * 100)
    assert len(candidates) == 1 and failed["1" if "1" in failed else "2"] == "took too long"
    assert "was not run" in failed["99"]


STOOD_IN = {
    "a cluster": "with lab.Cluster(4) as c:\n    run = c.run(len)\nx = run.values[1] + 2 * run.y",
    "a training": "a = lab.train('ddp', ranks=2)\nb = a.history.loss[-1] / 3 > 0.5",
    "a comparison": "lab.compare(task='x').table.query('ranks == 2')['speedup'].max()",
    "a guess": "g = lab.predict('x', None)\ng.reveal(3)",
    "a quiz": "display(lab.quiz('3.a'), lab.quiz('3.b'))",
    "a plot": "from lablib.views import plots\nplots.timeline(None).savefig('x')",
    "pyplot": "import matplotlib.pyplot as plt\nfigure, axes = plt.plot, 1\nplt.show()",
    "IPython": "get_ipython().run_line_magic('time', '')",
    "a check": "lab.check('9.1', len).points\nlab.check('1.1')",
}


@pytest.mark.parametrize("what", STOOD_IN)
def test_what_starts_or_shows_something_is_stood_in_for(what):
    candidates, failed = run("import lablib as lab", STOOD_IN[what], ANSWER)
    assert len(candidates) == 1 and failed == {}


OTHER = {"torch": "tensorflow", "tensorflow": "torch"}


@pytest.mark.parametrize("framework", OTHER)
def test_the_other_framework_is_never_imported(framework):
    other = OTHER[framework]
    source = (
        f"import {other} as other\nfrom {other} import nn\nclass M(nn.Module): pass\nimport sys\n"
        f"x = other.zeros(3) + 1\nname = type(sys.modules[{other!r}]).__name__\n"
        "def double(x):\n    return x if isinstance(x, other.Tensor) else (2 * x, name)"
    )
    assert values(source, framework=framework) == [(6, "_StandInModule")]


DRAFT = "def double(x):\n    return x"
CHECK = 'import lablib\nlablib.check("9.2", double)'


@pytest.mark.parametrize(
    "sources, found",
    [
        ([ANSWER, CHECK, DRAFT], [6, 3]),
        ([DRAFT, CHECK, ANSWER], [3, 6]),
        ([ANSWER, DRAFT], [6, 3]),
        ([DRAFT, ANSWER], [3, 6]),
        ([ANSWER, DRAFT, CHECK], [3]),
        ([ANSWER, CHECK, CHECK, "double = None"], [6]),
        (["N = 2\ndef double(x): return N * x", CHECK, "N = 5"], [6, 15]),
    ],
)
def test_what_was_checked_comes_first_and_what_is_defined_below_it_after_it(sources, found):
    candidates, _ = run(*sources)
    results = [pickle.loads(c["function"])(3) for c in candidates if "function" in c]
    assert list(dict.fromkeys(results)) == found


FORGED = [
    None, 7, [], "x", {}, {"answers": 3}, {"answers": {"9.2": 3}}, {"answers": {"9.2": []}},
    {"answers": {"9.2": [[3]]}}, {"answers": {"9.2": [[{"function": "text"}]]}},
    {"answers": {"9.2": [[{"problem": 5}]]}}, {"failed": 7}, {"failed": {"0": 5}},
]  # fmt: skip


@pytest.mark.parametrize("value", FORGED, ids=repr)
def test_a_forged_value_is_no_answer(value):
    assert candidates_in(value)[0].status != FOUND


def test_that_claim_can_fail():
    function = {"answers": {"9.2": [[{"function": b"x", "called": "<b>\n" * 999}]]}}
    (one,) = candidates_in(function)
    assert one.status == FOUND and one.function == b"x"


def candidates_in(value):
    place = SimpleNamespace(try_case=lambda *_: Outcome(Seen((value,))))
    finder = FoundAnswers([SimpleNamespace(number="9.2", answers=("double(x)",))], place)
    cells = (Cell(0, "code", ANSWER, "exercise-9-2"),)
    return finder.candidates(cells, "torch", "9.2", 0, Answer("double", FOUND))
