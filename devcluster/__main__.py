"""`python -m devcluster`: up, down, clean, prune, status, env, images, helm, metrics, emulators, target."""

from __future__ import annotations

import argparse
import json
import sys
import time

from devcluster import cluster, emulators, registry, teardown, tools
from devcluster import images as image_builds
from devcluster import metrics as metrics_server
from devcluster import prune as pruning
from devcluster import target as targets
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.progress import say
from devcluster.recipes import RECIPES
from devcluster.retention import NEWEST_KEPT


def environment(chosen: targets.Target) -> dict[str, str]:
    """What another program needs to use the chosen cluster; `audit_log` is empty where there is none."""
    return {
        "provider": chosen.provider,
        "kubeconfig": str(chosen.kubeconfig),
        "bin": str(chosen.paths.bin),
        "audit_log": str(chosen.audit_log or ""),
        "ingress_address": chosen.ingress_address,
        "registry": chosen.registry,
        "logs": str(chosen.paths.logs),
    }


def up(paths: Paths, _: argparse.Namespace) -> int:
    """Bring the cluster up."""
    start = time.monotonic()
    say("==> devcluster up")
    cluster.up(paths)
    say(f"==> cluster ready after {time.monotonic() - start:.1f} s; export KUBECONFIG={paths.kubeconfig}")
    return 0


def down(paths: Paths, _: argparse.Namespace) -> int:
    """Take the cluster down."""
    start = time.monotonic()
    with cluster.exclusive(paths):
        teardown.down(paths, cluster.process_table(paths))
    say(f"==> cluster removed after {time.monotonic() - start:.1f} s; caches stay in {paths.cache}")
    return 0


def clean(paths: Paths, _: argparse.Namespace) -> int:
    """Take the cluster down and remove the caches."""
    with cluster.exclusive(paths), cluster.exclusive(paths, "images"):
        teardown.clean(paths, cluster.process_table(paths))
    say(f"==> removed the cluster and its caches in {paths.cache}")
    return 0


def prune(paths: Paths, arguments: argparse.Namespace) -> int:
    """Remove images of older sources that nothing uses."""
    say("==> devcluster prune")
    with cluster.exclusive(paths), cluster.exclusive(paths, "images"):
        pruning.prune(paths, arguments.keep)
    return 0


def status(paths: Paths, _: argparse.Namespace) -> int:
    """Print a line for each daemon; exit 1 unless the cluster is up."""
    table = cluster.process_table(paths)
    for name in ("registry", *cluster.DAEMONS):
        living = table.living(name)
        print(f"{name:26}{f'running, process {living.pid}' if living else 'not running'}")
    running = cluster.is_running(paths)
    print(f"{'cluster':26}{'ready' if running and cluster.node_ready(paths) else 'not ready'}")
    return 0 if running else 1


def env(_: Paths, arguments: argparse.Namespace) -> int:
    """Print what another program needs to use the chosen cluster, as JSON or as shell exports."""
    values = environment(targets.select())
    if arguments.json:
        print(json.dumps(values, indent=2))
    else:
        print(f"export KUBECONFIG={values['kubeconfig']}\nexport PATH={values['bin']}:$PATH")
    return 0


def helm(paths: Paths, _: argparse.Namespace) -> int:
    """Build helm alone and print its path."""
    with cluster.exclusive(paths):
        tools.ensure(paths, tools.HELM)
    print(paths.bin / "helm")
    return 0


def metrics(paths: Paths, arguments: argparse.Namespace) -> int:
    """Put the metrics server on the cluster, or take it off."""
    with cluster.exclusive(paths):
        (metrics_server.remove if arguments.remove else metrics_server.apply)(paths)
    return 0


def servers(paths: Paths, _: argparse.Namespace) -> int:
    """Install the servers that the slow tests speak to."""
    with cluster.exclusive(paths):
        emulators.ensure(paths)
    return 0


def images(paths: Paths, arguments: argparse.Namespace) -> int:
    """Build and push the images that changed; names choose some of them."""
    target = targets.select()
    if arguments.only_build:
        if target.provider == "devcluster":
            cluster.check_machine(paths)
        with cluster.exclusive(paths, "images"):
            image_builds.prepare(target, arguments.names)
        return 0
    if target.provider == "devcluster":
        with cluster.exclusive(paths):
            tools.ensure(paths, *tools.CLUSTER)
            registry.start(paths, cluster.process_table(paths))
    with cluster.exclusive(paths, "images"):
        document = image_builds.build(target, arguments.names, warm=not arguments.cold)
    print(json.dumps(document, indent=2))
    return 0


def target(_: Paths, arguments: argparse.Namespace) -> int:
    """Bring up or take down the cluster that DEVCLUSTER_PROVIDER chooses, or show it."""
    start = time.monotonic()
    if arguments.action == "down":
        say(f"==> {targets.provider()} down")
        targets.down()
        return 0
    if arguments.action == "up":
        say(f"==> {targets.provider()} up")
        chosen = targets.up()
        say(f"==> cluster ready after {time.monotonic() - start:.1f} s; export KUBECONFIG={chosen.kubeconfig}")
        return 0
    print(targets.provider())
    return 0


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number from 0 up")
    return int(word)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description="A one-node Kubernetes without Docker.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for function in (up, down, clean, status, helm):
        commands.add_parser(function.__name__, help=function.__doc__).set_defaults(function=function)
    outdated = commands.add_parser("prune", help=prune.__doc__)
    outdated.add_argument(
        *("--keep", "-k"),
        type=_count,
        metavar="N",
        default=NEWEST_KEPT,
        help="how many tags of each image stay, beside what is current or in use (default: %(default)s)",
    )
    outdated.set_defaults(function=prune)
    measure = commands.add_parser("metrics", help=metrics.__doc__)
    measure.add_argument("--remove", action="store_true", help="take it off")
    measure.set_defaults(function=metrics)
    commands.add_parser("emulators", help=servers.__doc__).set_defaults(function=servers)
    show = commands.add_parser("env", help=env.__doc__)
    show.add_argument("--json", action="store_true", help="as JSON instead of shell exports")
    show.set_defaults(function=env)
    build = commands.add_parser("images", help=images.__doc__)
    build.add_argument("names", nargs="*", help=f"{', '.join(RECIPES)}; all when none is named")
    build.add_argument("--only-build", action="store_true", help="do not push them, which needs no cluster")
    build.add_argument("--cold", action="store_true", help="do not pull them onto the node")
    build.set_defaults(function=images)
    choose = commands.add_parser("target", help=target.__doc__)
    choose.add_argument("action", choices=["up", "down", "show"])
    choose.set_defaults(function=target)
    return top


def main() -> int:
    """Run one command; a DevclusterError becomes one message and exit status 1."""
    arguments = parser().parse_args()
    try:
        result: int = arguments.function(Paths.from_environment(), arguments)
    except DevclusterError as error:
        say(f"error: {error}")
        return 1
    return result


if __name__ == "__main__":
    sys.exit(main())
