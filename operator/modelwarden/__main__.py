"""`python -m modelwarden run`: the operator. Reads the environment once, then hands over to `main`."""

import argparse
import sys

from pydantic import ValidationError

from modelwarden import __version__
from modelwarden.settings import OperatorSettings


def main(arguments: list[str]) -> int:
    """Parse the command line and run; the exit code."""
    parser = argparse.ArgumentParser(prog="modelwarden", description="The Modelwarden operator")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; it is configured by MODELWARDEN_* variables")
    parser.parse_args(arguments)
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "MODELWARDEN_" + "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"{name}: {problem['msg']}\n")
        return 2
    # kopf and the cluster's client take a second to load: a wrong setting is told before.
    from modelwarden.main import run

    return run(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
