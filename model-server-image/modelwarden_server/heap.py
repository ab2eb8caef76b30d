"""How this process takes memory from the system and gives it back: large pieces at once, and back at once.

A store parses bodies of many megabytes now and then, and rests in between. With the defaults of glibc and of
pyarrow what such a moment took is kept, in as many arenas as there are threads: 16 requests of 60 MiB at once
came to 690 MiB, so to 530. The price is an eighth of the processor time of such requests; small ones do not
notice. Must be called before anything large is allocated. Other C libraries are left alone.
"""

import ctypes

# mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_SETTINGS = {_ARENA_MAX: 2, _TRIM_THRESHOLD: 4 << 20, _MMAP_THRESHOLD: 1 << 20}


def return_memory_early() -> bool:
    """Set the process's allocators; False if its C library knows no such settings."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    return free_early()


def free_early() -> bool:
    """The same for a process without pyarrow."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS.items())
