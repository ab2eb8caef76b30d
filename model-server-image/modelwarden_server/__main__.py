"""`python -m modelwarden_server store|job|local …`: reads the command line, then hands over.

Every flag has a twin in the environment: --data is MODELWARDEN_DATA. Imports what a command needs only
when it is that command's turn.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given else ""
    if command == "job":
        # Before numpy is imported: the order of a sum depends on the number of threads, and with it the last
        # bits of what is trained.
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        from modelwarden_server.jobs.command import run

        return run(given[1:], os.environ)
    if command == "local":
        from modelwarden_server.heap import return_memory_early

        return_memory_early()
        from modelwarden_server.local import main as local

        return local(given[1:])
    return asyncio.run(_store(_parser().parse_args(given)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modelwarden_server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("job", help="run one Job of a cell (see job --help)")
    commands.add_parser(
        "local", help="run a cell from a folder of YAML, without a cluster (see local --help)"
    )
    store = commands.add_parser("store", help="take in, keep and compare the rows of one model")
    etc = "/etc/modelwarden"
    _option(store, "--identity", f"{etc}/identity/identity.json", "the cell's identity")
    _option(store, "--settings", f"{etc}/settings/settings.json", "the cell's settings, re-read on change")
    _option(store, "--key-file", f"{etc}/key/key", "the cell's key, re-read on change")
    _option(store, "--data", "/data", "folder of the cell's data")
    _option(store, "--host", "0.0.0.0", "address to listen on")  # noqa: S104 - a pod serves its network
    _option(store, "--port", "8080", "port to listen on")
    _option(store, "--grace-seconds", "50", "seconds for an orderly end")
    _option(store, "--commit-seconds", "2", "longest a row waits in the log for the tables")
    _option(store, "--log-level", "info", "debug, info, warning or error")
    return parser


def _option(parser: argparse.ArgumentParser, flag: str, default: str, what: str) -> None:
    variable = "MODELWARDEN_" + flag.strip("-").replace("-", "_").upper()
    parser.add_argument(
        flag, default=os.environ.get(variable, default), help=f"{what} (env {variable}; default {default})"
    )


async def _store(options: argparse.Namespace) -> int:
    from modelwarden_server.logs import log_as_json

    log_as_json(options.log_level)
    from modelwarden_server.heap import return_memory_early

    return_memory_early()
    from modelwarden_server.apps import run_cell
    from modelwarden_server.cell import Cell
    from modelwarden_server.httpserver import Address
    from modelwarden_server.schema.compiled import UnsupportedAttributeError
    from modelwarden_server.settings import ConfigurationError, SettingsHolder, read_identity
    from modelwarden_server.store.writer import Pace

    try:
        cell = Cell(
            identity=read_identity(Path(options.identity)),
            settings=SettingsHolder.load(Path(options.settings), Path(options.key_file)),
            folder=Path(options.data),
            pace=Pace(seconds=float(options.commit_seconds)),
        )
        return await run_cell(cell, Address(options.host, int(options.port)), float(options.grace_seconds))
    except (ConfigurationError, UnsupportedAttributeError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - said before there is anything to log to
        return 2


if __name__ == "__main__":
    sys.exit(main())
