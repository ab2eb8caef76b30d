"""Where the work of folding many files is done: an interface, and threads of this process.

    for found in executor.map(fold, files): …

`map` gives results in the order of the files and works on a bounded number at once. Partials are integers
and merging is addition, so the sum does not depend on how files were split or who folded them; another
executor (Spark, Ray) may be put in its place. What is mapped must not share state.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Found = TypeVar("Found")


class Executor(Protocol):
    """Runs a function over files (or other tasks)."""

    def map(self, work: Callable[[Task], Found], tasks: Iterable[Task]) -> Iterator[Found]:
        """The results, in order. What the function raises is raised here; work not begun is left undone."""
        ...


@dataclass(frozen=True)
class ThreadExecutor:
    """Threads of this process. `ahead` results at most wait to be taken."""

    threads: int = 2
    ahead: int = 4

    def map(self, work: Callable[[Task], Found], tasks: Iterable[Task]) -> Iterator[Found]:
        """See Executor."""
        with ThreadPoolExecutor(self.threads, "fold") as pool:
            waiting: deque[Future[Found]] = deque()
            try:
                for task in tasks:
                    waiting.append(pool.submit(work, task))
                    if len(waiting) >= self.ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
