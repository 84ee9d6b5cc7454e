"""Run a notebook's cells in order, as Python does, to find the functions that are its answers.

This happens only on a rank, where all code of learners runs. The rank forks a process that runs the
cells, and watches it. If a cell ends this process or never finishes, the next try leaves this cell
out. Answers come back as bytes, pickled as `lab.check` pickles them for the ranks. Only ranks
unpickle them.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import builtins
import dis
import inspect
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from types import FunctionType, ModuleType

from lablib.cluster import definitions
from lablib.cluster.engine import wire
from lablib.cluster.names_as_text import codes_inside
from lablib.errors import NOT_ATTEMPTED
from lablib.grading.intake.answer_on_rank import file_name, show_sources
from lablib.grading.intake.answers import cell_ids
from lablib.grading.intake.notebook_file import Cell
from lablib.grading.intake.notebook_history import NotebookHistory
from lablib.grading.intake.stand_ins import StandIn, install
from lablib.teach.exercise import misfit, name_of, oversize

CELL_S = 20
NOTEBOOK_S = 60
_GRACE_S = 3  # how long an interrupted cell may take before its process is killed
_MOST_LOST = 3  # how many cells may end the process
_FUTURES = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})


class _TooLong(BaseException):
    """A cell has used up its time. No `except Exception` of the cell's catches it."""


@dataclass(frozen=True)
class NotebookRun:
    """A function for one rank, like `Observer`. It returns the answers that the cells define.

    cells       Python only, without IPython's lines
    exercises   by number, the signatures of the functions that the exercise asks for

    The value is {"answers": {number: [candidates of each function]}, "failed": {cell: why}}.
    A candidate is {"function": bytes} or {"problem": text}. The first is what the notebook's last
    `lab.check` of the exercise received or, without one, what the exercise's own cell defined.
    Another follows if the function is not the same at the end of the notebook.
    """

    cells: tuple[Cell, ...]
    exercises: dict[str, tuple[str, ...]]

    def __call__(self, me, given) -> dict:
        lost: dict[int, str] = {}
        until_s = time.monotonic() + NOTEBOOK_S
        while True:
            found, cell, why = self._tried(me.framework, lost, until_s)
            if found is not None:
                return found
            lost[cell] = why
            if cell < 0 or len(lost) > _MOST_LOST or time.monotonic() > until_s:
                return {"answers": {}, "failed": {str(cell): why for cell, why in lost.items()}}

    def _tried(self, framework, lost, until_s):
        """(what was found, the last cell that began, why nothing was found)."""
        ours, theirs = socket.socketpair()
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        child = os.fork()
        if child == 0:
            try:
                ours.close()
                os.chdir(folder.name)  # `submit` runs the cells outside the box
                _Session(self, framework, theirs, lost, until_s).run()
            finally:
                os._exit(0)
        theirs.close()
        try:
            return _follow(ours, until_s)
        finally:
            ours.close()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            folder.cleanup()


def _follow(sock, until_s):
    cell = -1
    while True:
        left_s = until_s - time.monotonic()
        sock.settimeout(max(0, min(CELL_S, left_s)) + _GRACE_S)
        try:
            message, _ = wire.receive(sock)
        except TimeoutError:
            return None, cell, "did not finish in time"
        except (OSError, EOFError):
            message = None
        if message is None:
            return None, cell, "ended the process"
        if "found" in message:
            return message["found"], cell, ""
        cell = message["cell"]


class _Session:
    """The namespace in which the cells run one after the other, and what happened in them."""

    def __init__(self, asked: NotebookRun, framework, sock, lost, until_s):
        self.asked = asked
        self.sock = sock
        self.until_s = until_s
        self.failed = dict(lost)
        self.checked: dict[tuple[str, int], _Held] = {}
        self.own: dict[tuple[str, int], _Held] = {}
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        module = sys.modules["__main__"] = ModuleType("__main__")
        self.names = vars(module)
        self.history = NotebookHistory(self.names)
        shell = {"display": StandIn(), "get_ipython": StandIn(), "input": _ask_nobody}
        vars(builtins).update(shell)
        install(framework, self._check)
        sys.displayhook = self.history.keep
        sys.stdout = sys.stderr = open(os.devnull, "w")
        signal.signal(signal.SIGALRM, _interrupt)

    def run(self) -> None:
        for cell in self.asked.cells:
            left_s = self.until_s - time.monotonic()
            if cell.number not in self.failed:
                wire.send(self.sock, {"cell": cell.number})
                self._run(cell, min(CELL_S, left_s))
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers = {number: [self._candidates(number, which) for which in range(len(signatures))]
                   for number, signatures in self.asked.exercises.items()}  # fmt: skip
        failed = {str(number): why for number, why in self.failed.items()}
        wire.send(self.sock, {"found": {"answers": answers, "failed": failed}})

    def _run(self, cell, within_s):
        if within_s <= 0:
            self.failed[cell.number] = "was not run, because the cells before it took too long"
            return
        before = dict(self.names)
        try:
            signal.setitimer(signal.ITIMER_REAL, within_s)
            self._execute(cell)
        except BaseException as error:
            self.failed[cell.number] = _words(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._keep_own(cell, before)

    def _execute(self, cell):
        file = file_name(cell)
        show_sources([cell])
        self.history.begins(cell)
        tree = ast.parse(cell.source, file)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        self._execute_tree(tree, file, "exec")
        if last:  # its value is `_` in the cells below, as in IPython
            self._execute_tree(ast.Interactive([last]), file, "single")

    def _execute_tree(self, tree, file, mode):
        code = compile(tree, file, mode, self.flags, dont_inherit=True)
        self.flags |= code.co_flags & _FUTURES  # they hold for later cells, as in IPython
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, self.names))
        else:
            exec(code, self.names)

    def _keep_own(self, cell, before):
        """Keep what an exercise's own cell has defined, as it is now; until that cell comes, the
        first function of the name. A starter below an answer takes nothing away."""
        for number, signatures in self.asked.exercises.items():
            for which, due in enumerate(signatures):
                name = name_of(due)
                if name in before and _is_starter(self.names.get(name)):
                    self.names[name] = before[name]
                own = cell.id in cell_ids(number, which)
                if own or (number, which) not in self.own:
                    self._hold(self.own, number, which, self._defined(name, cell, before, own))

    def _defined(self, name, cell, before, own):
        """The function of this name; in the exercise's own cell, if there is none of this name, the
        only function."""
        if name in self.names or not own:
            found = self.names.get(name)
            return found if found is not before.get(name) else None
        file = file_name(cell)
        changed = {id(it): it for key, it in self.names.items() if it is not before.get(key)}
        functions = [value for value in changed.values() if isinstance(value, FunctionType)]
        new = [value for value in functions if value.__code__.co_filename == file]
        return new[0] if len(new) == 1 else None

    def _check(self, number, *answers):
        due = self.asked.exercises.get(str(number), ())
        for which, function in enumerate(answers[: len(due)]):
            self._hold(self.checked, str(number), which, function)
        return StandIn()

    def _hold(self, kept, number, which, function):
        if function is not None and not _is_starter(function):
            due = self.asked.exercises[number][which]
            kept[number, which] = _Held(function, _candidate(function, due))

    def _candidates(self, number, which):
        due = self.asked.exercises[number][which]
        first = self.checked.get((number, which)) or self.own.get((number, which))
        found = [first.candidate, _candidate(first.function, due)] if first else []
        if name_of(due) in self.names:
            found.append(_candidate(self.names[name_of(due)], due))
        elif found:
            found = [one | {"renamed": True} for one in found]
        missing = _undefined(first.function) if first else ""
        found = [one | {"missing": missing} for one in found]
        return [one for at, one in enumerate(found) if one not in found[:at]]


@dataclass
class _Held:
    """A function, and its pickled form at that time, because the objects it uses may change."""

    function: object
    candidate: dict


def _candidate(function, due):
    """Return the function as bytes, or why it cannot be tried."""
    try:
        problem = misfit(due, function)
        if problem:
            return {"problem": problem}
        data = definitions.packed(function)
        if problem := oversize(data):
            return {"problem": problem}
        return {"function": data, "where": _where(function), "called": _called(function)}
    except Exception as error:
        return {"problem": f"it cannot be sent to the ranks: {type(error).__name__}: {error}"}


def _where(function):
    """Return the name of the cell that defines it; "" if this is not known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_filename if code else ""


def _undefined(function):
    """Return the names that the function uses and no cell has defined, such as "A, B"."""
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        return ""
    steps = (
        step for code in codes_inside(function.__code__) for step in dis.get_instructions(code)
    )
    names = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
    return ", ".join(sorted(names - function.__globals__.keys() - vars(builtins).keys()))


def _is_starter(function):
    """Return whether the function is still the unchanged starter."""
    return NOT_ATTEMPTED in getattr(getattr(function, "__code__", None), "co_consts", ())


def _called(function):
    return str(getattr(function, "__name__", ""))


def _words(error):
    """Say what happened to a cell, in a few words without any value."""
    if isinstance(error, _TooLong):
        return "took too long"
    if isinstance(error, SyntaxError) and error.__traceback__.tb_next is None:
        return f"has a syntax error in line {error.lineno}"
    name = type(error).__name__
    name = name if hasattr(builtins, name) else "an exception"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename.startswith("cell ")]
    return f"raised {name}" + (f" in line {lines[-1]}" if lines else "")


def _interrupt(*_):
    raise _TooLong


def _ask_nobody(*_):
    raise EOFError("input() does not work while a notebook is graded")
