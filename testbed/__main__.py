"""The command line, `python -m testbed`. Parses and prints; the work is in the modules it calls."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from testbed import images, native
from testbed.apiserver import ApiServer
from testbed.binaries import kubeconform, kubernetes
from testbed.cluster import Cluster, find_cluster, open_cluster, remove_cluster
from testbed.errors import SetupError
from testbed.own_node import OwnNode
from testbed.progress import ConsoleReporter
from testbed.record import all_records, clusters_folder
from testbed.status import describe

DESCRIPTION = """\
A real Kubernetes on this machine, for trying Modelwarden and for its tests.

With Docker and kind it drives kind. Without, as root on Linux, it builds Kubernetes from Go
modules (9 minutes on two cores, once) and runs a node in namespaces of its own. What is built is
kept in ~/.cache/modelwarden (or $MODELWARDEN_CACHE); a second start takes seconds.
"""
EXAMPLES = """\
a first round:
  python -m testbed up                               start the cluster (or find it running)
  python -m testbed load operator model-server       build both images and hand them to it
  export KUBECONFIG=$(python -m testbed kubeconfig)  then use it
  export PATH=$PATH:$(python -m testbed bin)         with our kubectl and helm, if you have none
  python -m testbed reach NAMESPACE/SERVICE 8080     a URL for a port of a Service
  python -m testbed down                             remove it, without a trace
"""


def parser() -> argparse.ArgumentParser:
    """All commands and what they say of themselves."""
    root = argparse.ArgumentParser(
        prog="python -m testbed",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, text: str, run: Callable[[argparse.Namespace, ConsoleReporter], None]
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def cluster_command(
        name: str, text: str, run: Callable[[argparse.Namespace, ConsoleReporter], None]
    ) -> argparse.ArgumentParser:
        added = command(name, text, run)
        added.add_argument("--name", default="demo", help="of the cluster (default: demo); several can run")
        return added

    cluster_command("up", "start a cluster, or find it running; prints its kubeconfig", _up)
    down = cluster_command("down", "remove a cluster and everything it left", _down)
    down.add_argument("--all", action="store_true", help="every cluster this tool has started")
    cluster_command("status", "what runs, where, how much memory it takes", _status)
    load = cluster_command("load", "build images and hand them to the cluster", _load)
    load.add_argument("image", nargs="+", help="operator, model-server, or an archive of an image (a file)")
    command("images", "build the images of the operator and of the cells; prints their names", _images)
    command("api", "an API server without a node, for tests, until Ctrl-C; prints its kubeconfig", _api)
    cluster_command("kubeconfig", "print the path of the cluster's kubeconfig", _kubeconfig)
    reach = cluster_command("reach", "print a URL for a port of a Service", _reach)
    reach.add_argument("service", metavar="NAMESPACE/SERVICE")
    reach.add_argument("port", type=int)
    volumes = cluster_command("volumes", "the pool of local volumes and who holds them", _volumes)
    volumes.add_argument("--recycle", action="store_true", help="empty what is released now")
    compiled = command("native", "build the compiled parser and install it here (needs cargo)", _native)
    compiled.add_argument(
        "--unpacked", action="store_true", help="only print a folder for PYTHONPATH with it"
    )
    command("bin", "print the folder with kubectl, helm and kubeconform", _bin)
    return root


def main() -> int:
    arguments = parser().parse_args()
    try:
        arguments.run(arguments, ConsoleReporter())
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _up(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    cluster = open_cluster(arguments.name, reporter)
    reporter.say(f"Cluster {cluster.name} is ready ({cluster.kind}). Use it with:")
    reporter.say(f"  export KUBECONFIG={cluster.kubeconfig} PATH=$PATH:{cluster.programs}")
    print(cluster.kubeconfig)


def _down(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    names = [arguments.name]
    if arguments.all:
        folders = [path for path in clusters_folder().glob("*") if path.is_dir()]
        names = sorted(path.name.removesuffix(".kind") for path in folders if path.suffix in ("", ".kind"))
    for name in names:
        if not remove_cluster(name, reporter):
            reporter.say(f"There is no cluster {name}.")


def _status(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    for line in describe(arguments.name, reporter):
        print(line)
    others = [record.name for record in all_records() if record.name != arguments.name]
    if others:
        print(f"other clusters  {', '.join(others)}")


def _load(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    cluster = find_cluster(arguments.name, reporter)
    for image in arguments.image:
        if image in get_args(images.Which):
            print(cluster.load(images.build(image, reporter)))
        elif Path(image).is_file():
            cluster.load_archive(Path(image))
        else:
            raise SetupError(f"{image} is neither operator nor model-server nor a file.")


def _images(_: argparse.Namespace, reporter: ConsoleReporter) -> None:
    for which in get_args(images.Which):
        print(images.build(which, reporter).name)


def _api(_: argparse.Namespace, reporter: ConsoleReporter) -> None:
    ending = {signal.SIGINT, signal.SIGTERM}
    with ApiServer(reporter=reporter) as server:
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)
        print(server.kubeconfig, flush=True)
        reporter.say(f"API server ready at {server.url}; Ctrl-C ends it.")
        signal.sigwait(ending)


def _kubeconfig(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    print(find_cluster(arguments.name, reporter).kubeconfig)


def _reach(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    namespace, slash, service = arguments.service.partition("/")
    if not (namespace and slash and service):
        raise SetupError(f"{arguments.service!r}: say NAMESPACE/SERVICE.")
    print(find_cluster(arguments.name, reporter).reach(namespace, service, arguments.port))


def _volumes(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    cluster: Cluster = find_cluster(arguments.name, reporter)
    if not isinstance(cluster, OwnNode):
        raise SetupError(
            f"Cluster {cluster.name} ({cluster.kind}) provisions volumes itself; there is no pool."
        )
    if arguments.recycle:
        for name in cluster.recycle_volumes():
            print(f"{name}: emptied and offered again")
    for line in cluster.volumes():
        print(line)


def _native(arguments: argparse.Namespace, reporter: ConsoleReporter) -> None:
    print(native.unpacked(reporter) if arguments.unpacked else native.install(reporter))


def _bin(_: argparse.Namespace, reporter: ConsoleReporter) -> None:
    kubeconform(reporter)
    print(kubernetes(reporter))


if __name__ == "__main__":
    sys.exit(main())
