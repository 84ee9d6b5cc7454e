"""The command line: `python -m lablib`, and `lablib` in the environment's bin/."""

# Nothing else may be imported before the current folder is off the path.
import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # `python -m` has put the current folder here

OLDEST = (3, 11)  # `requires-python` in pyproject.toml; this file must run on an older Python


def run() -> int:
    """Run one command from a folder that may hold anybody's files; return the exit status."""
    if sys.version_info < OLDEST:
        print(
            "This Python is too old.\n"
            "  saw: Python {}.{} ({}), and the kit needs {}.{} or newer\n"
            "  do:  type `make` in the kit's folder: it makes .venv/bin/python, the Python to use"
            .format(*sys.version_info[:2], sys.executable, *OLDEST),
            file=sys.stderr,
        )  # fmt: skip
        return 2
    if not __package__:
        print(
            "The kit cannot be started by the name of its file or folder.\n"
            "  do:  type, in the folder that contains lablib: .venv/bin/python -m lablib",
            file=sys.stderr,
        )
        return 2
    from lablib.computer import processes

    processes.forget_current_folder()
    from lablib.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
