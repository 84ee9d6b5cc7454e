"""Use JupyterLab in a real browser, with a learner's copies of the labs in a folder of the test.

Buttons are clicked through JupyterLab's commands, and keys are pressed by the browser. The results
are read from the saved notebook. LABLIB_SCREENSHOTS names a folder for pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from lablib.computer import facts
from lablib.course import learners_copies

ROOT = Path(__file__).resolve().parents[1]
START_WITHIN_S = 60
RUN_WITHIN_MS = 240_000
_RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
_RUN_ONE = "async () => await window.jupyterapp.commands.execute('notebook:run-cell')"
_SAVE = "async () => await window.jupyterapp.commands.execute('docmanager:save')"
_RESTART = (
    "async () => "
    "await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
)
_SHUT_DOWN = (
    "async () => { for (const k of window.jupyterapp.serviceManager.sessions.running())"
    " await window.jupyterapp.serviceManager.sessions.shutdown(k.id); }"
)
_READY = """
() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel;
  return kernel?.status === 'idle' && panel.content.widgets.length > 0;
}
"""
# The command returns early if a cell fails, as some cells should. So check every cell.
_ALL_RUN = """
() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const waits = cell => cell.model.type === 'code' && cell.model.executionCount === null;
  const busy = panel.content.widgets.some(waits);
  return !busy && panel.sessionContext.session.kernel.status === 'idle';
}
"""
_GO_TO = """
async id => {
  const book = window.jupyterapp.shell.currentWidget.content;
  const index = book.widgets.findIndex(cell => cell.model.id === id);
  book.activeCellIndex = index;
  book.deselectAll();
  await book.scrollToItem(index, 'start');
  return index;
}
"""


@contextlib.contextmanager
def server(folder: Path):
    """Start JupyterLab as `make lab` does; yield its address with the token."""
    shutil.copytree(ROOT / "labs", folder / "labs")
    learners_copies.bring(folder)
    command = learners_copies.jupyter_command(browser=False, port=0, root=folder)
    environment = os.environ | {
        "LABLIB_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with open(folder / "jupyter.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--LabApp.expose_app_in_browser=True"], cwd=folder / "my_labs",
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield _address(folder, process)
    finally:
        process.terminate()
        process.wait(30)


def _address(folder, process):
    give_up_s = time.monotonic() + START_WITHIN_S
    while time.monotonic() < give_up_s and process.poll() is None:
        for path in (folder / "runtime").glob("jpserver-*.json"):
            with contextlib.suppress(OSError, ValueError):
                info = json.loads(path.read_text())
                urllib.request.urlopen(f"{info['url']}api?token={info['token']}", timeout=5)
                return info["url"], info["token"]
        time.sleep(0.1)
    raise AssertionError("JupyterLab did not start:\n" + (folder / "jupyter.log").read_text())


@contextlib.contextmanager
def page_of(address):
    """Yield a page of a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=facts.find_command("chromium"), args=["--no-sandbox"]
        )
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.set_default_timeout(RUN_WITHIN_MS)
            yield Lab(page, *address)
        finally:
            browser.close()


class Lab:
    """One page of JupyterLab with at most one notebook open."""

    def __init__(self, page, url, token):
        self.page, self.url, self.token = page, url, token

    def open(self, name: str) -> None:
        """Open my_labs/`name` and wait until its kernel is ready."""
        self.page.goto(f"{self.url}lab/tree/{name}?token={self.token}&reset")
        self.wait_until_ready()

    def open_course(self) -> None:
        """Open the page with which `make lab` begins."""
        self.page.goto(f"{self.url}course?token={self.token}")

    def wait_until_ready(self) -> None:
        """Wait until the kernel of the open notebook is ready."""
        self.page.wait_for_function(_READY)

    def run_all(self) -> None:
        """Run all cells, and wait until each of them has been run."""
        self.page.evaluate(_RUN_ALL)
        self.page.wait_for_function(_ALL_RUN)

    def go_to(self, cell_id: str) -> None:
        """Make the cell active and visible."""
        assert self.page.evaluate(_GO_TO, cell_id) >= 0, f"no cell {cell_id}"

    def run_cell(self) -> None:
        """Run the active cell, and wait until it has run."""
        self.page.evaluate(_RUN_ONE)

    def type_over(self, text: str) -> None:
        """Replace the text of the active cell by typing."""
        self.page.locator(".jp-Notebook-cell.jp-mod-active .cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def saved(self, path: Path) -> list[dict]:
        """Save the notebook and return its cells."""
        self.page.evaluate(_SAVE)
        return json.loads(path.read_text("utf-8"))["cells"]

    def restart_kernel(self) -> None:
        """Restart the notebook's kernel, and wait until it is ready."""
        self.page.evaluate(_RESTART)
        self.page.wait_for_function(_READY)

    def shut_down_kernels(self) -> None:
        self.page.evaluate(_SHUT_DOWN)

    def keep_screenshot(self, name: str) -> None:
        if folder := os.environ.get("LABLIB_SCREENSHOTS"):
            self.page.screenshot(path=os.path.join(folder, f"{name}.png"))
