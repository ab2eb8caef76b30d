"""`python -m examples.census.story`: runs the story in a cell of its own and writes its page and pictures.

    python -m examples.census.story --write           # docs/census-story.md, docs/img/census-story-*.svg
    python -m examples.census.story --chunks 3        # a short one, on the screen
    python -m examples.census.story --record r.json   # keeps what the cell said; --from r.json reads it again

What this module must not do: compute, or draw.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from examples.census import data, train
from examples.census.demo import names
from examples.census.kubectl import NotInTimeError
from examples.census.story import cell, page, pictures, reading
from examples.census.story.chunks import Chunk, chunks, shipped_auc
from examples.census.story.run import Record, Replay
from modelwarden.client import ClientError
from testbed.errors import SetupError

DOCS = cell.ROOT / "docs"


@dataclass(frozen=True)
class _Options:
    chunks: int
    write: bool
    record: Path | None
    source: Path | None


def main(arguments: list[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    try:
        story = train.story(data.cache_folder())
        cut = list(chunks(story))[: options.chunks]
        shipped = shipped_auc(data.wheel(data.cache_folder()))
        record = Record.read(options.source) if options.source else _run(story, cut, options)
    except (data.WheelError, SetupError, NotInTimeError, ClientError, OSError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    told = reading.tell(story, cut, record, shipped)
    _write(told) if options.write else print(page.page(told, names()))
    return 0


def _options(arguments: list[str] | None) -> _Options:
    parser = argparse.ArgumentParser("python -m examples.census.story", description=__doc__)
    parser.add_argument("--chunks", type=int, default=42, help="how many chunks of 5000 (default all 42)")
    parser.add_argument("--write", action="store_true", help="write docs/census-story.md and its pictures")
    parser.add_argument("--record", type=Path, help="keep what the cell said in this JSON file")
    parser.add_argument("--from", dest="source", type=Path, help="read that file instead of running a cell")
    given = parser.parse_args(arguments)
    return _Options(given.chunks, given.write, given.record, given.source)


def _run(story: train.Story, cut: list[Chunk], options: _Options) -> Record:
    began = time.monotonic()

    def heard(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="census-story-") as name:
        folder = Path(name)
        cell.write_yaml(folder)
        with cell.running(folder) as running:
            record = Replay(running, cut, heard).run(story)
    record.seconds = round(time.monotonic() - began, 1)
    if options.record:
        record.write(options.record)
    return record


def _write(told: reading.Told) -> None:
    for name, svg in pictures.all_of(told, names()).items():
        (DOCS / "img" / name).write_text(svg)
    (DOCS / "census-story.md").write_text(page.page(told, names()))
    print(f"wrote {DOCS / 'census-story.md'}")


if __name__ == "__main__":
    sys.exit(main())
