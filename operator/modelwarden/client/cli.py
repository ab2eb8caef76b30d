"""`modelwarden`: the command line of the SDK. Reads its arguments, runs one command, gives its exit code.

What this module must not do: import httpx, pyarrow or pandas before it is known that they are needed, so that
`--help` works everywhere and a missing extra is said in one sentence.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence

from modelwarden.client import commands
from modelwarden.client.arguments import parser
from modelwarden.client.commands import EXIT_DRIFT, EXIT_FAILED, EXIT_INSUFFICIENT, EXIT_OK

__all__ = ["EXIT_DRIFT", "EXIT_FAILED", "EXIT_INSUFFICIENT", "EXIT_OK", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code (0 well, 1 failed, 2 drift, 3 too few rows to say)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["local"]:  # argparse would look at its options, --help included
        return commands.local(given[1:])
    parsed = parser().parse_args(given)
    run: Callable[[argparse.Namespace], int] = parsed.run
    missing = [name for name in ("httpx", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"modelwarden: {', '.join(missing)} not installed: pip install 'modelwarden[client]'",
            file=sys.stderr,
        )
        return EXIT_FAILED
    from modelwarden.client.errors import ClientError

    try:
        return run(parsed)
    except (ClientError, OSError) as reason:
        print(f"modelwarden: {reason}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
