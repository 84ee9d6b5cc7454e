"""An extension of the Jupyter server: it serves the course page at the address /course."""

from __future__ import annotations

from pathlib import Path

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from lablib.course.course_page import course_page

PATH = "course"


class CoursePage(JupyterHandler):
    """Answer with the page as it is now, to everybody who may use this server."""

    def initialize(self, root: Path) -> None:
        self.root = root

    @authenticated
    def get(self) -> None:
        # So that the browser's "back" shows the points that were earned since.
        self.set_header("Cache-Control", "no-store")
        address = f"{self.request.protocol}://{self.request.host}{self.request.path}"
        self.finish(course_page(self.root, address, self.base_url))


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(server):
    """Add the page. The server's folder is my_labs/, which is in the folder of the kit."""
    root = Path(server.root_dir).parent
    place = url_path_join(server.web_app.settings["base_url"], PATH)
    server.web_app.add_handlers(".*$", [(place, CoursePage, {"root": root})])
