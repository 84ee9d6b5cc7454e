"""The seed from which the graded cases draw their data: secret, and kept with the grades.

Learners have the public cases and this library. If they could guess the seed, they could compute
everybody's data without sending a message. So each grades folder gets a random seed of its own. A
hash derives two seeds from it for each exercise: one for the public data, one for the hidden data.
Nobody can compute the secret seed, or a hidden case, from the data of a public case.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from pathlib import Path

from lablib.errors import LabError
from lablib.files import write_completely

NAME = "seed.txt"
_BITS = 128
_OWNER_ONLY = 0o600


def seed_of(out: Path, given: int | None = None) -> int:
    """Return the seed of the grades in `out`: the stored one, or a new one, which it stores.

    given   the seed that the instructor asks for; None: draw a random one

    Raises LabError when the stored seed cannot be read, or differs from the given one.
    """
    path = out / NAME
    stored = _stored(path)
    if stored is not None and given not in (None, stored):
        raise LabError(
            "These grades were made with another seed.",
            saw=f"--seed {given}, and another number in {path}",
            do="omit --seed to keep their seed, or name a new folder with --out",
        )
    if stored is None:
        stored = secrets.randbits(_BITS) if given is None else given
        write_completely(path, f"{stored}\n", mode=_OWNER_ONLY)
    return stored


def derived(seed: int, *purpose: str) -> int:
    """Return a seed of 128 bits for one purpose. It tells nothing about `seed` or other purposes.

    >>> derived(1, "3.2", "hidden") == derived(1, "3.2", "hidden")
    True
    >>> derived(1, "3.2", "hidden") == derived(1, "3.2", "public")
    False
    """
    data = "\n".join([str(seed), *purpose]).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[: _BITS // 8], "big")


def _stored(path):
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, type(error).__name__) from None
    number = text.strip()
    if not number.isdecimal() or len(number) > sys.int_info.default_max_str_digits:
        raise _unreadable(path, "it does not hold one whole number")
    return int(number)


def _unreadable(path, saw):
    return LabError(
        "The seed of these grades cannot be read.",
        saw=f"{path}: {saw}",
        do="restore this file from a backup; if there is none, delete it, and all answers will be "
        "tried again with new data",
    )
