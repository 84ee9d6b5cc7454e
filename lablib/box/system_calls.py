"""System calls that a rank set is refused: each of them takes memory that belongs to no process.

Pages of a file that `memfd_create` made, or of a segment of System V, live on when nobody has them
mapped, so nobody's size shows them. Refused by a filter of the kernel: `man 2 seccomp`, and `BPF`
in the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from lablib.box.namespaces import call

# (AUDIT_ARCH_..., the calls' numbers): include/uapi/linux/audit.h, and each <asm/unistd.h>.
_OF_MACHINE = {
    "x86_64": (0xC000003E, {
        "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68,
        "add_key": 248, "keyctl": 250, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    }),
    "aarch64": (0xC00000B7, {
        "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186,
        "add_key": 217, "keyctl": 219, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425,
    }),
}  # fmt: skip
_X32 = 0x40000000  # on x86_64 the same calls have second numbers, from here on
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4  # in the kernel's struct seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_PR_SET_SECCOMP, _FILTER = 22, 2


def refuse() -> None:
    """Refuse them to this process and whatever it starts, with EPERM and for good.

    It must have given up new privileges before. Raises OSError where the kernel has no filters.
    """
    if platform.machine() not in _OF_MACHINE:
        raise OSError(errno.ENOSYS, f"no list of system calls for {platform.machine()}")
    program = _program(*_OF_MACHINE[platform.machine()])
    kept = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(kept))
    call("prctl", _PR_SET_SECCOMP, _FILTER, head, 0, 0)


def _program(arch, numbers):
    """Every way to `refuse` leads to the last line; the line before it allows the rest."""
    tests = [(_IF_AT_LEAST, _X32), *((_IF_EQUAL, number) for number in numbers.values())]
    lines = [
        _line(_LOAD, _ARCH_AT),
        # Calls of another kind, such as those of 32 bits, are numbered otherwise.
        _line(_IF_EQUAL, arch, no=len(tests) + 2),
        _line(_LOAD, _NUMBER_AT),
    ]
    for done, (test, number) in enumerate(tests, start=1):
        lines.append(_line(test, number, yes=len(tests) - done + 1))
    return b"".join([*lines, _line(_RETURN, _ALLOW), _line(_RETURN, _REFUSE)])


def _line(code, operand, *, yes=0, no=0):
    return struct.pack("@HBBI", code, yes, no, operand)
