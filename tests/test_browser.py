"""As a learner would: JupyterLab in a real browser; Run All, an exercise, a quiz, a stop."""

from __future__ import annotations

import time
import urllib.request

import psutil
import pytest
import written
from in_browser import page_of, server
from test_notebooks import LABS_IN_A_BROWSER, complaints_about

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(600)]
VANISH_WITHIN_S = 20
ANSWER = """def mean_of_all(mine):
    import torch
    import torch.distributed as dist
    both = torch.tensor([mine.sum(), len(mine)])
    dist.all_reduce(both)
    return both[0] / both[1]
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner")
    with server(folder) as address, page_of(address) as lab:
        yield lab, folder / "my_labs"


def given_by(cells):
    """Return the output of each code cell, as `test_notebooks` records it."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [c | {"tags": c["metadata"].get("tags", [])} for c in code]


def not_run(cells):
    return [c["id"] for c in cells if c["cell_type"] == "code" and not c["execution_count"]]


def told(cells, cell_id):
    cell = next(cell for cell in cells if cell["id"] == cell_id)
    return "".join(str(o.get("text", o.get("data", o))) for o in cell["outputs"])


@pytest.mark.parametrize("name", LABS_IN_A_BROWSER)
def test_a_lab_runs_whole(jupyter, name):
    lab, folder = jupyter
    lab.open(f"{name}.ipynb")
    lab.run_all()
    lab.keep_screenshot(name)
    cells = lab.saved(folder / f"{name}.ipynb")
    assert complaints_about(given_by(cells)) == [] and not_run(cells) == []
    lab.shut_down_kernels()


def test_an_exercise_solved_by_typing_gets_its_points(jupyter):
    lab, folder = jupyter
    path = folder / "00_start_here.ipynb"
    lab.open(path.name)
    for cell_id in ("04-c07cb1ab", "exercise-0-1", "check-0-1"):
        lab.go_to(cell_id)
        lab.run_cell()
    assert "not attempted yet" in told(lab.saved(path), "check-0-1")
    lab.go_to("exercise-0-1")
    lab.type_over(ANSWER)
    lab.run_cell()
    lab.go_to("check-0-1")
    lab.run_cell()
    lab.keep_screenshot("exercise")
    assert "2 of 2 points" in told(lab.saved(path), "check-0-1")


def test_a_quiz_answers_when_its_choice_is_clicked(jupyter):
    lab, _ = jupyter
    lab.go_to("quiz-0")
    lab.run_cell()
    lab.page.get_by_text("2: its own number").click()
    lab.page.get_by_text("Rank 1 put 2 in.").wait_for()
    lab.keep_screenshot("quiz")
    lab.page.set_viewport_size({"width": 600, "height": 900})
    assert lab.page.locator(".lablib-choices .widget-radio-box label").evaluate_all(_TOO_LONG) == []
    lab.page.set_viewport_size({"width": 1200, "height": 900})
    assert lab.page.get_by_text("Not right.").count() == 1


# The texts of choices that need more room than they have, so that they cover the next choice.
_TOO_LONG = """
labels => labels.filter(label => label.scrollHeight > label.offsetHeight).map(l => l.innerText)
"""

PREDICTION = """import os
os.environ.pop("LABLIB_GUESSES", None)
guess = lab.predict("how much", unit="MB")
guess.reveal(4, why="It is four.", show=lambda: "the figure")
"""


def test_a_locked_result_unlocks_after_a_guess_typed_into_its_field(jupyter):
    lab, _ = jupyter
    lab.go_to("exercise-0-1")
    lab.type_over(PREDICTION)
    lab.run_cell()
    output = lab.page.locator(".jp-Notebook-cell.jp-mod-active .jp-OutputArea")
    output.first.get_by_text("as soon as you have made a guess").wait_for()
    lab.keep_screenshot("locked")
    assert output.first.get_by_text("It is four.").count() == 0
    output.first.locator("input").fill("8 MB")
    output.first.locator("input").press("Enter")
    output.first.get_by_text("2.0 times too high").wait_for()
    output.first.get_by_text("the figure").wait_for()
    lab.keep_screenshot("unlocked")
    assert output.first.get_by_text("It is four.").count() == 1


WRITTEN = """import os, pathlib
os.environ.pop("LABLIB_GUESSES", None)
from lablib.teach import written_questions
written_questions.find.__defaults__ = (pathlib.Path(CHECKS),)
import lablib as lab
lab.explain("NUMBER")
"""


def written_field(lab, folder, number):
    """Run a cell that asks the question; the cell's output, with its text field."""
    lab.go_to("exercise-0-1")
    lab.type_over(WRITTEN.replace("CHECKS", repr(str(folder))).replace("NUMBER", number))
    lab.run_cell()
    output = lab.page.locator(".jp-Notebook-cell.jp-mod-active .jp-OutputArea").first
    output.locator("textarea").wait_for()
    return output


def test_an_answer_that_was_typed_survives_a_restart_of_the_kernel(jupyter, tmp_path):
    lab, _ = jupyter
    written.plant(tmp_path)
    output = written_field(lab, tmp_path, "9.w1")
    output.locator("textarea").press_sequentially(written.ANSWER)
    output.get_by_text("14 words, kept").wait_for()
    lab.keep_screenshot("written")
    lab.restart_kernel()
    again = written_field(lab, tmp_path, "9.w1")
    again.get_by_text("14 words, kept").wait_for()
    assert again.locator("textarea").input_value() == written.ANSWER


def test_a_saved_answer_is_compared_with_the_model_answer(jupyter, tmp_path):
    lab, _ = jupyter
    written.plant(tmp_path)
    output = written_field(lab, tmp_path, "9.w2")
    output.locator("textarea").fill(written.ANSWER)
    output.get_by_text("14 words, kept").wait_for()
    assert output.get_by_text(written.MODEL).count() == 0
    output.get_by_role("button", name="Save").click()
    output.get_by_text(written.MODEL).wait_for()
    output.get_by_label("Point 3").check()
    output.get_by_text("self-assessed 2 of 4").first.wait_for()
    lab.keep_screenshot("self-assessed")


def test_a_moved_slider_draws_anew(jupyter):
    lab, _ = jupyter
    lab.go_to("architecture")
    lab.run_cell()
    slider = lab.page.locator(".jp-Notebook-cell.jp-mod-active .noUi-handle").first
    figure = lab.page.locator(".jp-Notebook-cell.jp-mod-active .widget-html-content").first
    before = figure.inner_html()
    slider.focus()
    slider.press("ArrowRight")
    lab.page.wait_for_function(
        "([node, before]) => node.innerHTML !== before", arg=[figure.element_handle(), before]
    )
    lab.keep_screenshot("slider")
    assert figure.inner_html() != before


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_course_page_shows_the_points_and_opens_a_lab(jupyter, theme):
    lab, _ = jupyter
    lab.page.emulate_media(color_scheme=theme)
    lab.open_course()
    row = lab.page.get_by_role("row", name="Lab 00")
    assert "2 of 2" in row.inner_text() and "45 minutes" in row.inner_text()
    assert contrast(row.locator("td").nth(1)) > READABLE
    lab.keep_screenshot(f"course_{theme}")
    row.get_by_role("link").click()
    lab.wait_until_ready()
    assert "00_start_here.ipynb" in lab.page.url


def test_the_course_page_is_for_the_learner_only(jupyter):
    lab, _ = jupyter
    with urllib.request.urlopen(f"{lab.url}course", timeout=60) as answer:  # asks for the token
        assert "login" in answer.url and b"00_start_here" not in answer.read()


READABLE = 7  # WCAG 2.2, level AAA
_LUMINANCES = """
node => {
  const light = color => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d');
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = document.body.appendChild(document.createElement('div'));
  page.style.background = 'canvas';
  return [light(getComputedStyle(node).color), light(getComputedStyle(page).backgroundColor)];
}
"""


def contrast(text):
    """The contrast between a text and the page, as the WCAG defines it: 1 to 21."""
    dark, bright = sorted(text.evaluate(_LUMINANCES))
    return (bright + 0.05) / (dark + 0.05)


CLUSTER = """import lablib as lab
cluster = lab.Cluster(2)
cluster.run(lambda me: me.rank).values
"""


def test_a_stopped_kernel_leaves_no_process(jupyter):
    lab, folder = jupyter
    lab.go_to("exercise-0-1")
    lab.type_over(CLUSTER)
    lab.run_cell()
    ours = zygotes(folder)
    assert ours
    lab.shut_down_kernels()
    give_up_s = time.monotonic() + VANISH_WITHIN_S
    while any(map(psutil.pid_exists, ours)) and time.monotonic() < give_up_s:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, ours))


def zygotes(folder):
    """Return the processes of clusters that kernels of this folder's notebooks started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "lablib.cluster.local.zygote" not in (process.info["cmdline"] or ()):
            continue
        try:
            if process.environ().get("LABLIB_HOME", "").startswith(str(folder.parent)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
