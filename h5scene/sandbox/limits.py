"""What the operating system lets a process have. Linux-only things end here.

Where a limit is unknown, the process goes without it; the time that it may take is looked after
from outside, everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None


_LATER_BYTES = 1 << 30
"""Address space for modules and buffers that come later. Nearly nothing of it is memory."""
_STACK_BYTES = 16 << 20
"""Address space for a thread."""


def limit_this_process(memory_bytes: int) -> None:
    """From here on this process cannot take more memory, write files, or leave core dumps.

    Args:
        memory_bytes: Beside what it has, and what it needs to do anything.
    """
    own_bytes = _address_space_bytes() + _LATER_BYTES + _STACK_BYTES * (os.cpu_count() or 1)
    _limit("RLIMIT_AS", memory_bytes + own_bytes)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)


def limit_processor_time(seconds: float) -> None:
    """This process ends when it has worked for so long, whether or not its parent still lives."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = usage.ru_utime + usage.ru_stime
        # It may be ended a second later; the limit above that must stay free to be raised again.
        soft = int(used + seconds * (os.cpu_count() or 1)) + 2
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        if hard == resource.RLIM_INFINITY or soft < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _address_space_bytes() -> int:
    """Returns how much address space this process has; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _limit(name: str, value: int) -> None:
    """Sets a limit, if the system knows it, and it is not lower already."""
    number = getattr(resource, name, None)
    if number is None:
        return
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):  # macOS knows the name of one that it does not have
        return
