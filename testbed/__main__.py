"""`python -m testbed`: the command line. Parses and prints; the work is in the modules it calls."""

import argparse
import signal
import sys

from testbed.apiserver import ApiServer
from testbed.binaries import kubeconform, kubernetes
from testbed.errors import SetupError
from testbed.progress import ConsoleReporter


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="run an API server (no node) until Ctrl-C; prints its kubeconfig")
    commands.add_parser("bin", help="print the folder with kubectl, helm and kubeconform")
    arguments = parser.parse_args()
    reporter = ConsoleReporter()
    try:
        if arguments.command == "bin":
            kubeconform(reporter)
            print(kubernetes(reporter))
            return 0
        with ApiServer(reporter=reporter) as server:
            print(server.kubeconfig, flush=True)
            reporter.say("API server ready; Ctrl-C ends it.")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
