"""The git side of a pipeline: a bare repository with its hook, and the work tree of the project."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Container
from pathlib import Path

from lablib import datasets
from lablib.computer import facts, processes
from lablib.errors import LabError
from lablib.files import write_completely

TEMPLATE = Path(__file__).with_name("project")
# For the work tree only: commits need a name, and must not depend on the user's own settings.
_SETTINGS = {
    "user.name": "Learner",
    "user.email": "learner@localhost",
    "commit.gpgsign": "false",
    "core.hooksPath": ".git/hooks",
}
_MARK = "# Written by lab.ops.Pipeline"
_HOOK = f"""#!/bin/sh
{_MARK}, each time that it opens this folder. git sets variables such as
# GIT_DIR for a hook; without them, git commands of the pipeline use their own folder.
unset $(git rev-parse --local-env-vars)
exec {{command}}
"""


def git(folder: Path, *arguments: str | os.PathLike) -> str:
    """Run git in a folder, independent of the user's settings, and return what it printed.

    Raises LabError with git's own message if git is not installed or fails.
    """
    try:
        done = subprocess.run(
            ["git", *map(str, arguments)], cwd=folder, env=environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        do = facts.install_command("git")
        raise LabError("The pipeline needs git.", saw="no command git", do=do) from None
    if done.returncode:
        raise LabError(
            f"git {arguments[0]} failed.",
            saw=(done.stderr or done.stdout).strip()[-2000:],
            do=f"see what git says in {folder}: git status",
        )
    return done.stdout.strip()


def without_git_variables() -> dict[str, str]:
    """Return the environment without git's variables, which point a step to another repository."""
    return {k: v for k, v in processes.environment().items() if not k.startswith("GIT_")}


def environment() -> dict[str, str]:
    """Return the environment for git: without the variables and settings of the user."""
    return without_git_variables() | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
    }


def create(folder: Path) -> None:
    """Make `remote.git`, `work` and `state` in a folder, as far as they are missing."""
    state, remote, work = folder / "state", folder / "remote.git", folder / "work"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (remote / "HEAD").exists():
        git(folder, "init", "-q", "--bare", "-b", "main", remote)
    hook = _HOOK.format(command=shlex.join(processes.command("lablib.ops.hook", str(state))))
    os.chmod(write_completely(remote / "hooks" / "post-receive", hook), 0o755)
    if not (work / ".git").exists():
        _write_project(work)
        git(work, "init", "-q", "-b", "main")
        git(work, "remote", "add", "origin", remote)
    for name, value in _SETTINGS.items():
        git(work, "config", name, value)


def remove(folder: Path) -> None:
    """Delete what `create` and the service made in a folder, and nothing else.

    Raises LabError, and deletes nothing, if these folders are not those of a pipeline.
    """
    made = [folder / name for name in ("work", "state", "remote.git") if (folder / name).exists()]
    hook = folder / "remote.git" / "hooks" / "post-receive"
    if made and not (hook.is_file() and _MARK in hook.read_text(errors="replace")):
        raise LabError(
            "This folder is not a pipeline, so nothing is deleted.",
            saw=", ".join(map(str, made)),
            do='choose another folder: lab.ops.Pipeline("pipeline2", fresh=True)',
        )
    for each in made:
        shutil.rmtree(each)


def commit(work: Path, message: str, delivered: Container[str] = ()) -> str:
    """Commit all changes of the work tree, and return the commit's hash.

    delivered   the commits whose delivery has come to its end

    Another commit can be pushed again without a change: its push or its delivery was stopped, or
    has failed. git starts the hook for a new commit only, so this makes an empty one if necessary.
    Raises LabError if there is nothing to push.
    """
    git(work, "add", "-A")
    if git(work, "status", "--porcelain"):
        git(work, "commit", "-q", "-m", message)
    elif git(work, "rev-parse", "HEAD") in delivered:
        raise LabError(
            "Nothing has changed since the last push.",
            saw=f"no changed file in {work}",
            do="change a file of the project, for example config.toml, and push again",
        )
    elif _is_pushed(work):
        git(work, "commit", "-q", "--allow-empty", "-m", message)
    return git(work, "rev-parse", "HEAD")


def _is_pushed(work):
    remote = git(work, "ls-remote", "origin", "refs/heads/main").split()
    return remote[:1] == [git(work, "rev-parse", "HEAD")]


def _write_project(work):
    """Copy the template, and the data with its checksum."""
    shutil.copytree(
        TEMPLATE, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    datasets.load("digits")  # raises LabError if the file is damaged
    data = work / "data"
    data.mkdir(exist_ok=True)
    content = (datasets.FOLDER / "digits.csv").read_bytes()
    write_completely(data / "digits.csv", content)
    digest = hashlib.sha256(content).hexdigest()
    write_completely(data / "digits.sha256", f"{digest}  digits.csv\n")
    write_completely(work / ".gitignore", "__pycache__/\n.pytest_cache/\nweights.npz\n")
