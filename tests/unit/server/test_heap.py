"""What a large moment took goes back to the system when it is over."""

import subprocess
import sys

_MEASURE = """
import threading
import pyarrow as pa
from modelwarden_server.heap import return_memory_early

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def moment():
    held = [bytearray(3_000_000) for _ in range(10)] + [pa.allocate_buffer(3_000_000) for _ in range(10)]
    small = [bytearray(200_000) for _ in range(100)]
    del held, small

assert return_memory_early(), "not glibc"
before = resident()
for _ in range(3):
    threads = [threading.Thread(target=moment) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
print(resident() - before >> 20, pa.default_memory_pool().backend_name)
"""


def test_memory_of_a_large_moment_in_many_threads_goes_back_to_the_system() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, timeout=60
    )
    kept, pool = ran.stdout.split()
    assert int(kept) < 48
    assert pool == "system"
