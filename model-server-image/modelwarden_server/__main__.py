"""`python -m modelwarden_server store|ingest|model-server|job|local …`: reads the command line, hands over.

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
    options = _parser().parse_args(given)
    commands = {"store": _store, "ingest": _ingest, "model-server": _model_server}
    return asyncio.run(commands[options.command](options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modelwarden_server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("job", help="run one Job of a cell (see job --help)")
    commands.add_parser(
        "local", help="run a cell from a folder of YAML, without a cluster (see local --help)"
    )
    store = commands.add_parser("store", help="take in, keep and compare the rows of one model")
    _cell_options(store)
    _option(store, "--data", "/data", "folder of the cell's data")
    _option(store, "--commit-seconds", "2", "longest a row waits in the log for the tables")
    ingest = commands.add_parser("ingest", help="the sidecar of a model server: brings it what it needs")
    _cell_options(ingest)
    _option(ingest, "--store", "", "where the cell's store is, http://…")
    _option(ingest, "--pod", os.environ.get("HOSTNAME", "server"), "name of this pod")
    _option(ingest, "--shared", "/srv/modelwarden", "folder for files, which the model server may read")
    _option(ingest, "--run", "/srv/modelwarden-run", "folder of the model server's socket")
    model_server = commands.add_parser("model-server", help="run user code, predict and explain")
    _option(model_server, "--run", "/srv/modelwarden-run", "folder of the socket to listen on")
    _option(model_server, "--shared", "/srv/modelwarden", "folder of the files that the sidecar brings")
    _option(model_server, "--work", "/tmp/modelwarden", "folder that user code may write")  # noqa: S108
    _option(model_server, "--child-memory", "", "bytes for user code (default: from the container's limit)")
    _option(model_server, "--grace-seconds", "185", "seconds for an orderly end")
    _option(model_server, "--log-level", "info", "debug, info, warning or error")
    return parser


def _cell_options(parser: argparse.ArgumentParser) -> None:
    etc = "/etc/modelwarden"
    _option(parser, "--identity", f"{etc}/identity/identity.json", "the cell's identity")
    _option(parser, "--settings", f"{etc}/settings/settings.json", "the cell's settings, re-read on change")
    _option(parser, "--key-file", f"{etc}/key/key", "the cell's key, re-read on change")
    _option(parser, "--host", "0.0.0.0", "address to listen on")  # noqa: S104 - a pod serves its network
    _option(parser, "--port", "8080", "port to listen on")
    _option(parser, "--grace-seconds", "50", "seconds for an orderly end")
    _option(parser, "--log-level", "info", "debug, info, warning or error")


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


async def _ingest(options: argparse.Namespace) -> int:
    from modelwarden_server.logs import log_as_json

    log_as_json(options.log_level, pod=options.pod)
    from modelwarden_server.heap import free_early

    free_early()
    from modelwarden_server.httpserver import Address
    from modelwarden_server.settings import ConfigurationError, SettingsHolder, read_identity
    from modelwarden_server.sidecar.app import SidecarOptions, run_sidecar

    try:
        if not options.store.startswith(("http://", "https://")):
            raise ConfigurationError("--store must say where the cell's store is: http://…")
        sidecar = SidecarOptions(
            pod=options.pod,
            identity=read_identity(Path(options.identity)),
            settings=SettingsHolder.load(Path(options.settings), Path(options.key_file)),
            store=options.store,
            shared=Path(options.shared),
            run=Path(options.run),
            address=Address(options.host, int(options.port)),
            grace_seconds=float(options.grace_seconds),
        )
        return await run_sidecar(sidecar)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - said before there is anything to log to
        return 2


async def _model_server(options: argparse.Namespace) -> int:
    from modelwarden_server.logs import log_as_json

    log_as_json(options.log_level)
    from modelwarden_server.modelserver.app import ModelServerOptions, run_model_server
    from modelwarden_server.modelserver.container import cpus, memory_for_children
    from modelwarden_server.modelserver.limits import ChildLimits
    from modelwarden_server.modelserver.loading import Surroundings
    from modelwarden_server.settings import ConfigurationError

    memory = int(options.child_memory) if options.child_memory else memory_for_children()
    limits = ChildLimits(memory_bytes=memory, cpus=cpus())
    around = Surroundings(Path(options.work), Path(options.shared), limits)
    try:
        return await run_model_server(
            ModelServerOptions(Path(options.run), around, float(options.grace_seconds))
        )
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - said before there is anything to log to
        return 2


if __name__ == "__main__":
    sys.exit(main())
