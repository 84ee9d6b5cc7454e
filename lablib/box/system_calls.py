"""System calls that are forbidden in a rank set.

Most of them use memory that belongs to no process. Pages of a file made by `memfd_create`, of a
pipe filled by `vmsplice`, and of a System V segment or semaphore continue to exist when no process
has mapped them, so they appear in no process's size. The other calls would let separated ranks
communicate without messages: a process that watches a file, or asks for a lock on it, learns what
others do with the file.

The kernel enforces this by a filter: see `man 2 seccomp`, and `BPF` in the kernel's
Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from lablib.box.namespaces import call

# {AUDIT_ARCH_...: the calls' numbers}: include/uapi/linux/audit.h, and each <asm/unistd.h>.
_OF_MACHINE = {
    "x86_64": (0xC000003E, {
        "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "semget": 64, "msgget": 68,
        "add_key": 248, "keyctl": 250, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
        "vmsplice": 278, "perf_event_open": 298, "inotify_init": 253, "inotify_init1": 294,
        "fanotify_init": 300, "flock": 73, "fcntl": 72,
    }),
    "aarch64": (0xC00000B7, {
        "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "semget": 190, "msgget": 186,
        "add_key": 217, "keyctl": 219, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425,
        "vmsplice": 75, "perf_event_open": 241, "inotify_init1": 26, "fanotify_init": 262,
        "flock": 32, "fcntl": 25,
    }),
}  # fmt: skip
_X32 = 0x40000000  # on x86_64 the same calls have second numbers, which start here
_LOAD = 0x20
_IF_EQUAL = 0x15
_IF_AT_LEAST = 0x35
_RETURN = 0x06
_NUMBER_AT, _ARCH_AT, _SECOND_ARGUMENT_AT = 0, 4, 24  # in the kernel's struct seccomp_data
_NOT_ALWAYS = ("flock", "fcntl")
# Commands of fcntl that lock a file, lease it, or watch a folder; <asm-generic/fcntl.h>.
_LOCKS = (6, 7, 37, 38, 1024, 1026)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_PR_SET_SECCOMP, _FILTER = 22, 2


def refuse(locks: bool = False) -> None:
    """Forbid the calls for this process and all its children, permanently, with EPERM.

    locks   True: forbid locks on files, too

    The process must have given up new privileges before. Raises OSError if the kernel has no
    filters.
    """
    if platform.machine() not in _OF_MACHINE:
        raise OSError(errno.ENOSYS, f"no list of system calls for {platform.machine()}")
    program = _program(*_OF_MACHINE[platform.machine()], locks)
    kept = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(kept))
    call("prctl", _PR_SET_SECCOMP, _FILTER, head, 0, 0)


def _program(arch, numbers, locks):
    """Return the filter.

    Its last two lines allow or refuse the call; all other lines jump to them.
    """
    always = [number for name, number in numbers.items() if name not in _NOT_ALWAYS]
    tests = [(_IF_EQUAL, arch, "go on", "refuse")]  # calls of 32-bit programs have other numbers
    tests += [(_LOAD, _NUMBER_AT), (_IF_AT_LEAST, _X32, "refuse", "go on")]
    tests += [(_IF_EQUAL, number, "refuse", "go on") for number in always]
    if locks:
        tests.append((_IF_EQUAL, numbers["flock"], "refuse", "go on"))
        tests.append((_IF_EQUAL, numbers["fcntl"], "go on", "allow"))
        tests.append((_LOAD, _SECOND_ARGUMENT_AT))
        tests += [(_IF_EQUAL, command, "refuse", "go on") for command in _LOCKS]
    lines = [_line(_LOAD, _ARCH_AT)]
    for left, (code, operand, *ways) in zip(reversed(range(len(tests))), tests):
        steps = {"go on": 0, "allow": left, "refuse": left + 1}
        lines.append(_line(code, operand, *(steps[way] for way in ways)))
    return b"".join([*lines, _line(_RETURN, _ALLOW), _line(_RETURN, _REFUSE)])


def _line(code, operand, yes=0, no=0):
    return struct.pack("@HBBI", code, yes, no, operand)
