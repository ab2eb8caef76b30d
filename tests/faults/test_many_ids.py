"""The index of ids at its full size: memory and look-ups, measured on an index that was generated.

Two million ids in `make test`, a hundred million in `make test-long`; the figures are printed. In a process
of its own, so that its memory is what is measured.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store_process import REPO

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
IDS = 100_000_000 if LONG else 2_000_000
MIB = 1 << 20
BLOCK = 1 << 16

PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from modelwarden_server.store.id_index import Reach, TieredIdIndex
from modelwarden_server.store.runs import RunSet

folder, total, block = Path(sys.argv[1]), int(sys.argv[2]), 1 << 16

def generated(rows, seed):
    # A sorted run: each block takes its part of the range of keys.
    chance, blocks = np.random.default_rng(seed), -(-rows // block)
    width = 2**64 // blocks
    for number in range(blocks):
        size = min(block, rows - number * block)
        made = chance.integers(0, 2**63, (size, 4), dtype=np.uint64) * np.uint64(2)
        made[:, 0] = np.sort(chance.integers(number * width, (number + 1) * width - 1, size, dtype=np.uint64))
        yield made

runs, left, seed, sample = RunSet(folder, 2), total, 0, []
while left:
    rows = left if left < 300_000 else left * 3 // 4
    runs.add_sorted(generated(rows, seed), rows)
    sample.append(next(generated(rows, seed)))
    left, seed = left - rows, seed + 1
runs.keep(Reach("log", 1, 1).facts())
del runs

def memory():
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")}

before, started = memory(), time.perf_counter()
index = TieredIdIndex(folder)
index.load(Reach("log", 1, 1))
told = {"ids": len(index), "runs": len(index._disk.runs), "open_seconds": time.perf_counter() - started}
known = np.concatenate(sample)
chance = np.random.default_rng(99)
new = chance.integers(0, 2**63, (200_000, 4), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
def spread(rows):
    # Known ids lie in the first block of each run: blocks of other places are asked with new ids.
    return rows[chance.permutation(len(rows))]
def rate(rows, batch, most):
    # By CPU time: wall time on a shared machine is noise.
    rows, count, started = spread(rows), 0, time.process_time()
    while count < most:
        part = rows[count % len(rows):][:batch]
        index.look_up(part[:, :2], part[:, 2:])
        count += len(part)
    return count / (time.process_time() - started)
answers = index.look_up(known[:, :2], known[:, 2:])
assert set(answers.tolist()) == {1}, "a known id was not found"
assert set(index.look_up(new[:, :2], new[:, 2:]).tolist()) == {0}, "a new id was found"
told["new_by_1000"] = rate(new, 1000, 200_000)
told["new_by_1"] = rate(new, 1, 2000)
told["known_by_1000"] = rate(known, 1000, min(len(known), 200_000))
told["known_by_1"] = rate(known, 1, 2000)
after = memory()
told["anonymous"] = after["RssAnon"] - before["RssAnon"] - new.nbytes - 2 * known.nbytes
told["mapped"] = after["RssFile"] - before["RssFile"]
told["held"] = index.memory
print(json.dumps(told))
"""


@pytest.mark.timeout(3600)
def test_the_index_of_ids_is_small_in_memory_and_quick(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{REPO}/operator:{REPO}/model-server-image"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "ids"), str(IDS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))
    assert told["ids"] == IDS
    assert told["held"] < 8 * MIB
    assert told["runs"] < 20
    assert told["mapped"] < 800 * MIB
    assert told["new_by_1000"] > 20_000
    assert told["new_by_1"] > 300
