"""`avrt serve`: the servers that a configuration needs, printed or started."""

from __future__ import annotations

from dataclasses import replace

import click

from avrt.cli.options import echo, load_settings, settings_argument

__all__ = ["serve"]


def _parse_gpus(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    if value is None:
        return None
    gpus = tuple(gpu.strip() for gpu in value.split(","))
    if not all(gpu.isdecimal() or gpu.startswith(("GPU-", "MIG-")) for gpu in gpus):
        raise click.BadParameter(f"{value!r} is no list of GPUs; write numbers, such as 0,1")
    return gpus


@click.command()
@settings_argument
@click.option(
    "--start", is_flag=True, help="Start the servers of this machine, and end them on Ctrl-C."
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="NAME",
    help="Take only the servers of this role, such as vision, merger or eval.models; may be "
    "repeated, and names a server with the address of another machine as one of this machine.",
)
@click.option(
    "--gpus",
    callback=_parse_gpus,
    metavar="0,1,...",
    help="GPUs for the servers, one after the other; by default all of this machine.",
)
@click.option(
    "--vllm", metavar="PATH", help="The program `vllm`, where it is in another environment."
)
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait until all servers answer; the first start downloads models.",
)
def serve(
    settings: tuple[str, ...],
    start: bool,
    roles: tuple[str, ...],
    gpus: tuple[str, ...] | None,
    vllm: str | None,
    limit_s: float,
) -> None:
    """Print the servers that the configuration needs, with their commands.

    With --start, starts them and writes their output into the run folder (serve/ROLE-PORT.log).
    Waits until each answers with its model, and stays: Ctrl-C, SIGTERM, or the end of one of them
    ends them all.

    Example: avrt serve configs/paper.yaml --start --vllm ~/vllm/bin/vllm
    """
    from avrt.engines.servers import choose_servers, needed_servers, render_servers, share_gpus

    config = load_settings(settings)
    servers = needed_servers(config)
    if start or roles:
        servers = choose_servers(servers, roles)
    if vllm is not None:
        servers = [each.by_program("vllm", vllm) for each in servers]
    if not start:
        echo(render_servers(share_gpus(servers, gpus) if gpus else servers))
        return
    from avrt.engines.watch import check_startable, find_gpus, run_servers

    gpus = gpus or find_gpus()
    if gpus is None:  # not known: the servers see all that is there
        servers = [replace(each, gpus=()) for each in servers]
    else:
        servers = share_gpus(servers, gpus)
    check_startable(servers)
    echo(render_servers(servers))
    run_servers(servers, config.run.path / "serve", limit_s)
