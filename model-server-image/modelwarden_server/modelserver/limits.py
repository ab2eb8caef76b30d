"""What a child with user code may use, and how much of it is used: sizes in bytes, times in seconds.

Plain values and reads of /proc. Must not start or end anything: see supervisor.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Bounds of one child. What each is good for stands where it is enforced: child.py, supervisor.py."""

    memory_bytes: int = 1 << 30
    """Of private memory, then Python raises MemoryError; of resident memory, then the child is killed."""
    work_bytes: int = 512 << 20
    """Of the files that user code may write, all together; the child is killed beyond."""
    file_bytes: int = 256 << 20
    """Of one such file."""
    threads: int = 256
    """Most threads; the child is killed beyond. It cannot start processes at all."""
    open_files: int = 512
    cpus: int = 2
    """Threads that numeric libraries are told to use."""
    load_seconds: float = 180.0
    """For everything until the code is loaded."""
    call_seconds: float = 180.0
    """For one call that names no time of its own; then the child is killed and started anew."""
    answer_bytes: int = 512 << 20
    """Most bytes of one answer."""
