"""What the machine lets this process have: memory and open files."""

import os
from pathlib import Path

__all__ = ["available_memory", "open_files"]

CGROUP = Path("/sys/fs/cgroup")
UNKNOWN_FILES = 1024  # What most systems let a process open, where this one does not say.


def open_files() -> int:
    """Returns how many files and connections the system lets this process have open at a time.

    >>> open_files() > 16
    True
    """
    try:
        import resource  # Windows has no such module.
    except ModuleNotFoundError:
        return UNKNOWN_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNKNOWN_FILES if soft == resource.RLIM_INFINITY else soft


def available_memory() -> int:
    """Returns how many bytes this process can have in all.

    These are the bytes that it has, and those that are free in the machine, or in its container if that is less.

    >>> available_memory() > 2**20
    True
    """
    own = _own()
    free = [_free_in_machine(), *_free_in_container()]
    return own + min(free)


def _own() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _free_in_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**62  # Nothing is known.


def _free_in_container() -> list[int]:
    try:
        most = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [] if most == "max" else [max(0, int(most) - used)]
