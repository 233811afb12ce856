"""The commands. Each reads its options, calls one module and prints: the work lies where it can be tested alone."""

from __future__ import annotations

from pathlib import Path

import click

from scoring_cli import keys, serving, status, validation
from scoring_cli.cluster import connect

_NAMESPACE = click.option(
    "-n", "--namespace", metavar="NAMESPACE", help="Namespace of the service; the current context's by default."
)
_CONTEXT = click.option("--context", metavar="CONTEXT", help="Context of the kubeconfig; the current one by default.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="scoring-operator", prog_name="kubectl-scoring")
def main() -> None:
    """Check, try out and operate ScoringServices."""


@main.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True, exists=True))
def validate_command(files: tuple[Path, ...]) -> None:
    """Check the ScoringServices in FILES (files, folders, or - for stdin) without a cluster.

    Finds what `kubectl apply` would refuse and what the operator would refuse after it: unknown fields, wrong
    types, values that contradict each other. Objects of other kinds are passed over. Ends with 1 when there is a
    problem.
    """
    report = validation.validate_paths(files)
    for problem in report.problems:
        click.echo(str(problem), err=True)
    click.echo(report.summary(), err=bool(report.problems))
    if report.problems:
        raise SystemExit(1)


@main.command("keys")
@click.argument("name")
@_NAMESPACE
@_CONTEXT
@click.option("--show", is_flag=True, help="Print the keys themselves instead of their first characters.")
@click.option("--rotate", type=click.Choice(keys.SLOTS), help="Replace this key by a new random one.")
def keys_command(name: str, namespace: str | None, context: str | None, show: bool, rotate: str | None) -> None:
    """Show the keys of the service NAME, or replace one of them.

    A service has two keys and accepts either, so that one can be replaced while clients use the other.
    """
    cluster = connect(namespace, context)
    report = keys.rotate_key(cluster, name, rotate) if rotate else keys.read_keys(cluster, name)
    click.echo(report.text(show=show))


@main.command("status")
@click.argument("name")
@_NAMESPACE
@_CONTEXT
def status_command(name: str, namespace: str | None, context: str | None) -> None:
    """Say whether the service NAME answers, where, and if not, why.

    Ends with 1 while the service is not ready.
    """
    report = status.describe(connect(namespace, context).read_service(name))
    click.echo(report.text)
    if not report.ready:
        raise SystemExit(1)


@main.command("serve")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--framework", required=True, metavar="FRAMEWORK", help="The library that the model was saved with.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
def serve_command(path: Path, framework: str, port: int) -> None:
    """Serve the model folder PATH on this machine: the server the pods run, on 127.0.0.1 and without keys."""
    serving.replace_this_process(path, framework, port)


if __name__ == "__main__":
    main()
