"""What this computer can do for the kit, and how to get what is missing. Standard library only.

The report must also work where a package is missing, and take less than a second. So packages are
looked up, never imported, and the probes that start a process run side by side.
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

# Debian's name of a package -> the commands that it installs, here or on other systems.
DEBIAN_PACKAGES = {
    "bubblewrap": ("bwrap",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "git": ("git",),
}
ENOUGH_MEMORY_BYTES = 4e9  # both zygotes, 4 ranks each, a browser
ENOUGH_DISK_BYTES = 1e9  # traces, notebooks and pages of a course
_PROBE_S = 5
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_NEW_MOUNT = 0x00020000
_NEW_PROCESSES = 0x20000000
_NEW_IPC = 0x08000000
# man 2 unshare. It runs in a new process, because the caller must not move into a namespace.
_UNSHARE = """
import ctypes, os, sys
unshare = ctypes.CDLL(None, use_errno=True).unshare
if all(unshare(int(flags)) for flags in sys.argv[1:]):
    sys.exit(os.strerror(ctypes.get_errno()))
"""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+?)((?:>=|<).+)")


@dataclass(frozen=True)
class Finding:
    """One fact about this computer.

    state    "ok", "limited" (the kit works, with restrictions) or "missing"
    cure     how to fix it
    needed   whether the kit needs it
    """

    name: str
    state: str
    found: str
    cure: str = ""
    needed: bool = False


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found. `ok` is False if something that the kit needs is missing."""

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
    """Check this computer: Python, packages, cores, memory, GPUs, isolation of processes.

    This starts a few short probes. `lab.doctor()` shows the result together with the sandbox's.
    """
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(probe) for probe in (_gpus, _private_network, _containment)]
        packages = [*_packages(), *_both_frameworks()]
        quick = [_system(), _python(), *packages, _cores(), _memory(), _disk(), _start()]
        return Report((*quick, *(probe.result() for probe in slow), _git(), _browser()))


def cores() -> int:
    """Return how many cores this process may use, given its affinity and its control groups."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, int(min([allowed, *_cpu_quotas(_cgroup_files)])))


def memory_bytes() -> int:
    """Return how much memory this process may use: all, or the limit of its control groups."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_memory_limits(_cgroup_files)])


def find_command(package: str) -> str:
    """Return the path of the command that Debian's `package` installs; "" if it is missing."""
    return next(filter(None, map(shutil.which, DEBIAN_PACKAGES[package])), "")


def install_command(package: str) -> str:
    """Return the command that installs Debian's `package`.

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
    found = f"{platform.python_version()} (the kit needs {wanted})"
    cure = "install such a Python, then: make lab PYTHON=/path/to/this/python"
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
        found = ""
    if not found or not _satisfies(found, wanted):
        found = f"{found or 'not installed'} (the kit needs {wanted})"
        cure = "make lab, or: python -m pip install -c constraints.txt -e ."
        return Finding(name, "missing", found, cure, needed=True)
    if pinned and found.partition("+")[0] != pinned:
        found = f"{found} (the kit was tested with {pinned})"
        cure = "install the tested version: python -m pip install -c constraints.txt -e ."
        return Finding(name, "limited", found, cure, needed=True)
    return Finding(name, "ok", found, needed=True)


def _both_frameworks():
    """Warn that a notebook cannot import both frameworks in any order; a rank imports only one."""
    try:
        importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return
    found = "torch for CUDA crashes a process that imported TensorFlow before triton"
    cure = "in a notebook that imports both frameworks, write `import triton` first"
    yield Finding("both frameworks", "limited", found, cure)


def _cores():
    if cores() == 1:
        cure = "the ranks take turns on it, so results are right, but you will see no speed-up"
        return Finding("cores", "limited", "1", cure, needed=True)
    return Finding("cores", "ok", str(cores()), needed=True)


def _memory():
    if not hasattr(os, "sysconf"):
        return Finding("memory", "limited", "cannot be found out on this system")
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
        cure = f"free some space: labs and traces need {show_bytes(ENOUGH_DISK_BYTES)}"
        return Finding("disk", "limited", found, cure, needed=True)
    return Finding("disk", "ok", found, needed=True)


def start_method() -> str:
    """Return "fork" where that is safe, else "spawn"; LABLIB_START overrides it."""
    return os.environ.get("LABLIB_START") or ("fork" if sys.platform == "linux" else "spawn")


def _start():
    if start_method() == "fork":
        return Finding("start of a rank", "ok", "fork")
    return Finding("start of a rank", "limited", "spawn", "each run imports the framework again")


def gpus() -> list[str]:
    """Return "name, memory" of each NVIDIA GPU that the driver lists; import no framework."""
    return _nvidia_smi()[1].splitlines()


def no_gpu() -> str:
    """Say why no GPU can be used here; "" if the driver lists one."""
    failure, output = _nvidia_smi()
    return failure or ("" if output.strip() else "nvidia-smi lists no GPU")


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
        return Finding(name, "limited", f"not possible on {sys.platform}", _SHARED_PORTS)
    failure, _ = _attempt(_unshare(_NEW_NETWORK, _NEW_USER | _NEW_NETWORK))
    if failure:
        return Finding(name, "limited", f"not allowed here: {failure}", _SHARED_PORTS)
    return Finding(name, "ok", "each TensorFlow cluster gets its own network")


_SHARED_PORTS = (
    "no action needed: TensorFlow's servers share this computer's ports, and if two clusters "
    "choose the same port, the kit tries again"
)


def _containment():
    """Find what can sandbox learners' code when an instructor grades it; the labs need nothing."""
    command, cure = find_command("bubblewrap"), install_command("bubblewrap")
    failure, _ = _attempt([command or "bwrap", "--ro-bind", "/", "/", "true"])
    if not failure:
        return Finding("containment", "ok", f"bubblewrap ({command})")
    if command:
        cure = f"bubblewrap fails ({failure}): allow unprivileged user namespaces"
    everything = _NEW_USER | _NEW_NETWORK | _NEW_MOUNT | _NEW_PROCESSES | _NEW_IPC
    if sys.platform == "linux" and not _attempt(_unshare(everything))[0]:
        return Finding("containment", "limited", "Linux namespaces without bubblewrap", cure)
    return Finding("containment", "missing", "none, so grading will refuse to run", cure)


def _git():
    command = find_command("git")
    if command:
        return Finding("git", "ok", command)
    return Finding("git", "missing", "no git, which lab 06 needs", install_command("git"))


def _browser():
    command = find_command("chromium")
    if command:
        return Finding("browser for tests", "ok", command)
    found = "no chromium, so the tests that need a browser are skipped"
    return Finding("browser for tests", "missing", found, install_command("chromium"))


# --- how they are found


def _attempt(command: list[str]) -> tuple[str, str]:
    """Run a command; return (why it failed or "", what it printed)."""
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
        return f"{command[0]} is not installed", ""
    except OSError as error:
        return f"{command[0]}: {error.strerror}", ""
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not answer within {_PROBE_S} s", ""
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
    """Return whether a version is within the bounds that pyproject.toml sets.

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
    """Read every file of that name from this process's control group up to the root.

    The limits in all of these files apply. In a container, the path that the kernel reports may
    not exist below the mount; the root of the mount then is the container's own group.
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
    """Return the quota of each group that has one, as a number of cores."""
    pairs = [text.split() for text in files("cpu.max", "cpu")]
    pairs += zip(files("cpu.cfs_quota_us", "cpu"), files("cpu.cfs_period_us", "cpu"), strict=False)
    quotas = [(quota, float(period)) for quota, period in pairs if quota != "max"]
    return [float(quota) / period for quota, period in quotas if float(quota) > 0]


def _memory_limits(files: Callable[[str, str], Iterator[str]]) -> list[int]:
    texts = [*files("memory.max", "memory"), *files("memory.limit_in_bytes", "memory")]
    return [int(text) for text in texts if text.strip() != "max"]
