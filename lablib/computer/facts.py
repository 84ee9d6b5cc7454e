"""What this computer can do for the kit, and the cure for what it lacks. Standard library only.

It must answer on a computer where a package is missing, and in under a second: packages are looked
up, never imported, and the probes that start a process run side by side.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from lablib.files import ROOT
from lablib.units import show_bytes

# Debian's name of a package -> the commands that show it is there, here or on other systems.
DEBIAN_PACKAGES = {
    "bubblewrap": ("bwrap",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
}
ENOUGH_MEMORY_BYTES = 4e9  # both zygotes, 4 ranks each, a browser
ENOUGH_DISK_BYTES = 1e9  # traces, notebooks and pages of a course
_PROBE_S = 5
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_NEW_MOUNT, _NEW_PROCESSES, _NEW_IPC = 0x00020000, 0x20000000, 0x08000000
# man 2 unshare. In a process of its own: the caller must not move into a namespace.
_UNSHARE = """
import ctypes, os, sys
unshare = ctypes.CDLL(None, use_errno=True).unshare
if all(unshare(int(flags)) for flags in sys.argv[1:]):
    sys.exit(os.strerror(ctypes.get_errno()))
"""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+?)((?:>=|<).+)")


@dataclass(frozen=True)
class Finding:
    """One thing about this computer. state: "ok", "limited" (it works, with less) or "missing"."""

    name: str
    state: str
    found: str
    cure: str = ""
    needed: bool = False


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found. `ok` is False when something is missing that the kit needs."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not any(finding.needed and finding.state == "missing" for finding in self.findings)

    def to_dict(self) -> dict:
        """Plain data, ready for JSON."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def __repr__(self) -> str:
        states = [finding.state for finding in self.findings]
        counts = [f"{states.count(state)} {state}" for state in ("ok", "limited", "missing")]
        return f"Report({', '.join(counts)}; {'ready' if self.ok else 'not ready'})"

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.state:8} {finding.name:{width}}  {finding.found}")
            if finding.cure:
                lines.append(f"{'':8} {'':{width}}  -> {finding.cure}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        head = "".join(f"<th {left}>{name}</th>" for name in ("state", "what", "found", "cure"))
        rows = "".join(
            "<tr>" + "".join(f"<td {left}>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in ((f.state, f.name, f.found, f.cure) for f in self.findings)
        )
        return f"<table><tr>{head}</tr>{rows}</table>"


def report() -> Report:
    """Look at this computer: Python, packages, cores, memory, GPUs, what isolates processes.

    Starts a few short probes. Part of what `lab.doctor()` says.
    """
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(probe) for probe in (_gpus, _private_network, _containment)]
        packages = [*_packages(), *_both_frameworks()]
        quick = [_system(), _python(), *packages, _cores(), _memory(), _disk(), _start()]
        return Report((*quick, *(probe.result() for probe in slow), _browser()))


def cores() -> int:
    """Cores that this process may use at once: affinity and the quotas of its control groups."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, int(min([allowed, *_cpu_quotas(_cgroup_files)])))


def memory_bytes() -> int:
    """Memory that this process may use: the computer's, or less where a control group says so."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_memory_limits(_cgroup_files)])


def find_command(package: str) -> str:
    """The path of the command that Debian's `package` brings, "" when it is not here."""
    return next(filter(None, map(shutil.which, DEBIAN_PACKAGES[package])), "")


def install_command(package: str) -> str:
    """What to type to get Debian's `package`.

    >>> install_command("bubblewrap")
    'sudo apt install bubblewrap'
    """
    return f"sudo apt install {package}"


# --- one finding each


def _system():
    found = f"{platform.system()} {platform.release()} {platform.machine()}"
    if sys.platform == "win32":
        cure = "use WSL: wsl --install, then clone the repository there"
        return Finding("system", "missing", found, cure, needed=True)
    if sys.platform != "linux":
        return Finding("system", "limited", found, "the kit is tested on Linux only")
    return Finding("system", "ok", found, needed=True)


def _python():
    wanted = _project()["requires-python"]
    if _satisfies(platform.python_version(), wanted):
        return Finding("Python", "ok", platform.python_version(), needed=True)
    found = f"{platform.python_version()} ({wanted} is wanted)"
    cure = "make lab PYTHON=/path/to/a/python/that/suits"
    return Finding("Python", "missing", found, cure, needed=True)


def _packages():
    pins = dict(line.split("==") for line in _lines("constraints.txt") if "==" in line)
    for requirement in _project()["dependencies"]:
        name, wanted = _REQUIREMENT.fullmatch(requirement).groups()
        yield _package(name, wanted, pins.get(name, ""))


def _package(name, wanted, pinned):
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = "not here"
    if found == "not here" or not _satisfies(found, wanted):
        cure = "make lab, or: python -m pip install -c constraints.txt -e ."
        return Finding(name, "missing", f"{found} ({wanted} is wanted)", cure, needed=True)
    if pinned and found.partition("+")[0] != pinned:
        cure = "the same one: python -m pip install -c constraints.txt -e ."
        return Finding(name, "limited", f"{found} ({pinned} was tested)", cure, needed=True)
    return Finding(name, "ok", found, needed=True)


def _both_frameworks():
    """A rank imports one of them; a notebook of the learner's own may import both."""
    try:
        importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return
    found = "torch for CUDA: its triton crashes a process that imported TensorFlow first"
    cure = "ranks import one of them; in a notebook with both, write `import triton` first"
    yield Finding("both frameworks", "limited", found, cure)


def _cores():
    if cores() == 1:
        cure = "ranks take turns on it: all results are right, no speed-up shows"
        return Finding("cores", "limited", "1", cure, needed=True)
    return Finding("cores", "ok", str(cores()), needed=True)


def _memory():
    if not hasattr(os, "sysconf"):
        return Finding("memory", "limited", "cannot be told on this system")
    found = show_bytes(memory_bytes())
    if memory_bytes() < ENOUGH_MEMORY_BYTES:
        cure = (
            f"close other programs, or use fewer ranks: {show_bytes(ENOUGH_MEMORY_BYTES)} is enough"
        )
        return Finding("memory", "limited", found, cure, needed=True)
    return Finding("memory", "ok", found, needed=True)


def _disk():
    free = shutil.disk_usage(ROOT).free
    found = f"{show_bytes(free)} free in the kit's folder"
    if free < ENOUGH_DISK_BYTES:
        cure = f"free some space: labs and traces want {show_bytes(ENOUGH_DISK_BYTES)}"
        return Finding("disk", "limited", found, cure, needed=True)
    return Finding("disk", "ok", found, needed=True)


def start_method() -> str:
    """ "fork" where that is safe, else "spawn"; LABLIB_START overrides it."""
    return os.environ.get("LABLIB_START") or ("fork" if sys.platform == "linux" else "spawn")


def _start():
    if start_method() == "fork":
        return Finding("start of a rank", "ok", "fork")
    return Finding("start of a rank", "limited", "spawn", "each run imports the framework again")


def gpus() -> list[str]:
    """The NVIDIA GPUs that the driver lists, "name, memory" each; no framework is asked."""
    return _nvidia_smi()[1].splitlines()


def _gpus():
    failure, output = _nvidia_smi()
    if failure:
        return Finding("GPUs", "limited", f"none ({failure})", "no lab needs one")
    return Finding("GPUs", "ok", "; ".join(output.splitlines()))


def _nvidia_smi():
    return _attempt(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])


def _private_network():
    name = "private network"
    if sys.platform != "linux":
        return Finding(name, "limited", f"{sys.platform} has none", _SHARED_PORTS)
    failure, _ = _attempt(_unshare(_NEW_NETWORK, _NEW_USER | _NEW_NETWORK))
    if failure:
        return Finding(name, "limited", f"not allowed here: {failure}", _SHARED_PORTS)
    return Finding(name, "ok", "each TensorFlow cluster has a loopback of its own")


_SHARED_PORTS = "TensorFlow's servers share this computer's ports; a collision is tried again"


def _containment():
    """What can hold a learner's code when an instructor grades it; the labs need none."""
    command, cure = find_command("bubblewrap"), install_command("bubblewrap")
    failure, _ = _attempt([command or "bwrap", "--ro-bind", "/", "/", "true"])
    if not failure:
        return Finding("containment", "ok", f"bubblewrap ({command})")
    if command:
        cure = f"bubblewrap fails: {failure}; allow unprivileged user namespaces"
    everything = _NEW_USER | _NEW_NETWORK | _NEW_MOUNT | _NEW_PROCESSES | _NEW_IPC
    if sys.platform == "linux" and not _attempt(_unshare(everything))[0]:
        return Finding("containment", "limited", "Linux namespaces, no bubblewrap", cure)
    return Finding("containment", "missing", "none: grading would refuse to run", cure)


def _browser():
    command = find_command("chromium")
    if command:
        return Finding("browser for tests", "ok", command)
    found = "no chromium: the tests that need one are skipped"
    return Finding("browser for tests", "missing", found, install_command("chromium"))


# --- how they are found


def _attempt(command: list[str]) -> tuple[str, str]:
    """(why it failed or "", what it printed)."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_S,
        )
    except FileNotFoundError:
        return f"no {command[0]} here", ""
    except OSError as error:
        return f"{command[0]}: {error.strerror}", ""
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not answer in {_PROBE_S} s", ""
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return (said[-1] if said else f"exit status {done.returncode}"), ""
    return "", done.stdout


def _unshare(*flags):
    return [sys.executable, "-I", "-S", "-c", _UNSHARE, *map(str, flags)]


def _project() -> dict:
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _lines(name):
    return (ROOT / name).read_text().split()


def _satisfies(version: str, wanted: str) -> bool:
    """Whether a version is within the bounds that pyproject.toml sets.

    >>> _satisfies("2.13.0+cpu", ">=2.13"), _satisfies("3.14.0", ">=3.11,<3.14")
    (True, False)
    """
    for bound in wanted.split(","):
        at_least = _numbers(version) >= _numbers(bound)
        if at_least != bound.startswith(">="):
            return False
    return True


def _numbers(version):
    numbers = [int(part) for part in re.search(r"\d+(\.\d+)*", version).group().split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()  # 3.0 is 3
    return numbers


def _cgroup_files(
    name: str,
    controller: str,
    membership: Path = Path("/proc/self/cgroup"),
    mount: Path = Path("/sys/fs/cgroup"),
) -> Iterator[str]:
    """Contents of every file of that name from this process's group up to the root: all bind.

    In a container the path that the kernel tells may not exist below the mount; its root then is
    the container's own group.
    """
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controllers
        folders = [top / group.strip("/"), *(top / group.strip("/")).parents]
        for folder in folders[: folders.index(top) + 1]:
            if (folder / name).is_file():
                yield (folder / name).read_text()


def _cpu_quotas(files: Callable[[str, str], Iterator[str]]) -> list[float]:
    """Cores' worth of time per period, for each group that has a quota."""
    pairs = [text.split() for text in files("cpu.max", "cpu")]
    pairs += zip(files("cpu.cfs_quota_us", "cpu"), files("cpu.cfs_period_us", "cpu"), strict=False)
    quotas = [(quota, float(period)) for quota, period in pairs if quota != "max"]
    return [float(quota) / period for quota, period in quotas if float(quota) > 0]


def _memory_limits(files: Callable[[str, str], Iterator[str]]) -> list[int]:
    texts = [*files("memory.max", "memory"), *files("memory.limit_in_bytes", "memory")]
    return [int(text) for text in texts if text.strip() != "max"]
