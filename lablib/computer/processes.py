"""How the kit starts its own Python processes, so that none imports from the current folder.

An instructor may type `python -m lablib grade .` in a folder of submissions. `python -m` puts the
current folder first on `sys.path`, so that Python would take a learner's `numpy.py` for NumPy. An
empty or relative entry of PYTHONPATH names the current folder, too.

Run as a script, this file is the start of such a process: it calls `main` of the named module.
"""

# Import only modules that Python itself has already imported, because the path is not yet safe when
# the kit's commands import this file. For this reason there is no `from __future__` here.
import importlib
import importlib.util
import os
import sys

FILE = os.path.realpath(__file__)


def command(module: str, *arguments: str, python: str = sys.executable, file: str = FILE):
    """Return the command line of a process that runs `main([*arguments])` of one of our modules.

    python, file   the interpreter and this file, where the process finds them
    """
    # -P: no folder of a script and no current folder on sys.path.
    return [python, "-P", file, module, *arguments]


def environment() -> dict[str, str]:
    """Return the environment for a process of ours: PYTHONPATH without the current folder.

    Start every process of ours with it, also those of other packages (`python -P -m sphinx`).
    """
    others = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    kept = [entry for entry in _entries() if _is_safe(entry)]
    return others | ({"PYTHONPATH": os.pathsep.join(kept)} if kept else {})


def forget_current_folder() -> None:
    """Remove the current folder from the path of this process and of all processes it starts."""
    _keep(lambda entry: not _is_here(entry))


def forget_learners(folder: str | os.PathLike) -> None:
    """Remove the entries of PYTHONPATH that lie in a folder of submissions."""
    inside = os.path.join(os.path.realpath(folder), "")

    def is_inside(entry):
        return os.path.join(os.path.realpath(entry), "").startswith(inside)

    named = set(filter(is_inside, _entries()))
    _keep(lambda entry: entry not in named)


def _keep(wanted):
    sys.path[:] = filter(wanted, sys.path)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        entry for entry in _entries() if _is_safe(entry) and wanted(entry)
    )


def _entries():
    """Return the entries of PYTHONPATH. Python ignores the variable if it is empty."""
    text = os.environ.get("PYTHONPATH", "")
    return text.split(os.pathsep) if text else []


def _is_safe(entry):
    return os.path.isabs(entry) and not _is_here(entry)


def _is_here(entry):
    """True if the entry names the current folder, as "" does."""
    try:
        return os.path.realpath(entry) == os.path.realpath(os.getcwd())
    except OSError:
        return not entry  # the current folder was removed


def _import_the_kit():
    """Make `import lablib` find the kit that this file belongs to, installed or not.

    Its parent folder stays off the path: others may have put files there.
    """
    package = os.path.dirname(os.path.dirname(FILE))
    spec = importlib.util.spec_from_file_location("lablib", os.path.join(package, "__init__.py"))
    sys.modules["lablib"] = kit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kit)


if __name__ == "__main__":
    _import_the_kit()
    importlib.import_module(sys.argv[1]).main(sys.argv[2:])
