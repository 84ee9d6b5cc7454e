"""python -m lablib run: a program that was written for torchrun, or for TF_CONFIG."""

from __future__ import annotations

from pathlib import Path

from lablib import frameworks
from lablib.errors import LabError


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments, and those after "--", which belong to the learner's program.

    >>> split(["run", "train.py", "--ranks", "4", "--", "--lr", "0.1"])
    (['run', 'train.py', '--ranks', '4'], ['--lr', '0.1'])
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def add_run(commands, add) -> None:
    """Add the command `run`."""
    about = "run a program that was written for torchrun (or TF_CONFIG), unchanged"
    end = """Examples: python -m lablib run train.py --ranks 4 -- --lr 0.1
          python -m lablib run train.py --ranks 8 --hardware dgx-a100 --out result
The exit status is 1 if a rank fails, or if the ranks can no longer make progress."""
    parser = add(commands, "run", _run, about, epilog=end)
    option = parser.add_argument
    option("program", help="the program's file; its own arguments come last, after --")
    option("-m", "--module", action="store_true", help="PROGRAM is a module, as after python -m")
    ranks = "the number of processes (default: %(default)s)"
    option("--ranks", type=int, default=2, metavar="N", help=ranks)
    option("--nodes", type=int, metavar="N", help="spread the processes over N nodes (default: 1)")
    which = "the framework of the ranks (default: the one that the program imports)"
    option("--framework", choices=frameworks.NAMES, help=which)
    on = "model this machine (a name or a TOML file) instead of measuring times on this computer"
    option("--hardware", metavar="NAME", help=on)
    limit = "stop the run after this many seconds (default: %(default)s)"
    option("--timeout", type=float, default=3600, metavar="S", help=limit)
    option(
        "--out", type=Path, metavar="FOLDER", help="write the trace and a timeline to this folder"
    )


def _run(asked):
    from lablib.cluster import script
    from lablib.cluster.cluster import Cluster
    from lablib.ops import warm_runs

    program = script.script(asked.program, asked.of_program, asked.module)
    framework = asked.framework or script.framework_of(program)
    status = warm_runs.forward(framework, asked.typed)
    if status is not None:
        return status
    if asked.out:
        _make(asked.out)
    cluster = Cluster(
        asked.ranks, nodes=asked.nodes, framework=framework,
        hardware=asked.hardware, timeout_s=asked.timeout, echo=True,
    )  # fmt: skip
    run = cluster.run(program)
    print(f"\n{run!r}\n{run.metrics.to_string(float_format='{:.4g}'.format)}")
    if asked.out:
        _write(run, asked.out)
    return 0


def _make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            "The folder for the results cannot be made.",
            saw=f"{folder}: {error.strerror}",
            do="choose another --out",
        ) from None


def _write(run, folder):
    from lablib.views import plots

    run.trace.save(folder / "trace.json.gz")
    plots.timeline(run.trace).savefig(folder / "timeline.png")
    print(f"Trace and timeline: {folder.resolve()}")
