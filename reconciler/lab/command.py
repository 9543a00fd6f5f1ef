"""`reconciler lab`: a simulated pool with real disks on this machine."""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from reconciler.lab import guest
from reconciler.lab.failures import Failure, LabError
from reconciler.lab.lab import Lab
from reconciler.lab.remote import RunningLab
from reconciler.lab.settings import Settings

app = typer.Typer(no_args_is_help=True, help="A simulated pool with real disks, in one directory.")

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

Directory = Annotated[Path, typer.Option("--dir", help="Where the lab lies.", file_okay=False)]


def parse_bytes(text: str | int) -> int:
    """`4096`, `64M`, `1.5GiB` → bytes, by powers of 1024."""
    lowered = str(text).strip().lower().removesuffix("ib").removesuffix("b")
    unit = lowered[-1:] if lowered[-1:] in _UNITS and lowered[-1:] else ""
    try:
        count = float(lowered.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no size: write 4096, 64M or 1.5G") from None
    if count < 0:
        raise typer.BadParameter("a size is not negative")
    return int(count)


Size = Annotated[int, typer.Option(parser=parse_bytes, metavar="SIZE")]


def _fail(error: Exception) -> typer.Exit:
    typer.echo(f"lab: {error}", err=True)
    return typer.Exit(1)


def _on(directory: Path, here: Callable[[Lab], str], there: Callable[[RunningLab], str]) -> None:
    """Work on the directory itself, or through the process that serves it; print the outcome."""
    if not directory.is_dir():
        raise _fail(LabError(f"{directory}: no such lab (make one with: lab up --dir {directory})"))
    try:
        try:
            lab = Lab.open(str(directory))
        except LabError:
            typer.echo(there(RunningLab(str(directory))))
            return
        with lab:
            typer.echo(here(lab))
    except (LabError, Failure) as error:
        raise _fail(error) from None


def _settings(knobs: list[str]) -> Settings:
    """The knobs as `NAME=NUMBER`, over the defaults."""
    settings = Settings()
    known = {field.name: type(getattr(settings, field.name)) for field in fields(Settings)}
    known = {name: kind for name, kind in known.items() if kind is not tuple}
    for knob in knobs:
        name, _, text = knob.partition("=")
        if name not in known:
            raise typer.BadParameter(f"{name!r} is no knob; there are: {', '.join(known)}")
        try:
            setattr(settings, name, known[name](float(text)))
        except ValueError:
            raise typer.BadParameter(f"{knob!r}: write {name}=NUMBER") from None
    return settings


@app.command()
def up(
    directory: Directory,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 0,
    host: Annotated[str, typer.Option(help="Address of the first host.")] = "127.0.0.1",
    tls: Annotated[
        bool, typer.Option("--tls", help="HTTPS with a certificate of its own.")
    ] = False,
    hosts: Annotated[int, typer.Option(help="Hosts of a new pool.", min=1, max=64)] = 1,
    srs: Annotated[
        list[str] | None,
        typer.Option("--sr", metavar="NAME", help="A further SR, if there is none of the name."),
    ] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=NUMBER", help="May be repeated.")
    ] = None,
) -> None:
    """Serve a lab until SIGTERM or SIGINT; prints one line of JSON once it answers."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: ended.set())
    try:
        settings = _settings(knobs or [])
        with (
            Lab.open(str(directory), settings=settings, hosts=hosts) as lab,
            lab.serve(port, host, tls) as served,
        ):
            for name in set(srs or []) - set(lab.srs):
                lab.add_sr(name)
            typer.echo(json.dumps(served.description()))
            ended.wait()
    except LabError as error:
        raise _fail(error) from None


@app.command("import")
def import_images(
    name: Annotated[str, typer.Argument(help="The new machine's name.")],
    images: Annotated[list[Path], typer.Argument(help="raw, VHD or qcow2, one per disk.")],
    directory: Directory,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    memory: Annotated[int, typer.Option(parser=parse_bytes, metavar="SIZE")] = 1 << 30,
) -> None:
    """Make a halted machine from disk images."""
    paths, tags = [str(path.absolute()) for path in images], tag or []

    def here(lab: Lab) -> str:
        made = lab.import_vm(name, paths, tags=tags, memory=memory)
        return json.dumps({"uuid": made.uuid, "disks": list(made.disks)})

    def there(lab: RunningLab) -> str:
        wish = {"name": name, "images": paths, "tags": tags, "memory": memory}
        return lab.ask("PUT", "/lab/import", {}, json.dumps(wish).encode()).decode()

    _on(directory, here, there)


@app.command()
def write(
    vm: Annotated[str, typer.Argument(help="Name or uuid.")],
    disk: Annotated[str, typer.Argument(help="Position (0, 1 …) or uuid.")],
    directory: Directory,
    offset: Size = 0,
    source: Annotated[
        Path | None, typer.Option("--from", help="The file whose bytes are written.")
    ] = None,
    random: Annotated[int, typer.Option(parser=parse_bytes, metavar="SIZE")] = 0,
) -> None:
    """Write into a machine's disk as its guest would."""
    if (source is None) == (random == 0):
        raise typer.BadParameter("either --from FILE or --random SIZE")
    arguments: dict[str, str | int] = {"vm": vm, "disk": disk, "offset": offset}

    def here(lab: Lab) -> str:
        if source is None:
            lab.random_write(vm, disk, offset, random)
            return _written(random, lab.disk(vm, disk).text("uuid"))
        position = offset
        with source.open("rb") as file:
            while piece := file.read(2 << 20):
                lab.write_disk(vm, disk, position, piece)
                position += len(piece)
        return _written(position - offset, lab.disk(vm, disk).text("uuid"))

    def there(lab: RunningLab) -> str:
        if source is None:
            return lab.ask("PUT", "/lab/write", {**arguments, "random": random}).decode()
        with source.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            return lab.ask("PUT", "/lab/write", arguments, file, length).decode()

    if source is not None and not source.is_file():
        raise _fail(LabError(f"{source}: no such file"))
    _on(directory, here, there)


def _written(count: int, vdi: str) -> str:
    return json.dumps({"written": count, "vdi": vdi})


@app.command("ls")
def list_machines(directory: Directory) -> None:
    """List machines, snapshots and their disks, one JSON object a line."""

    def here(lab: Lab) -> str:
        return _lines(json.dumps(list(guest.machines(lab.pool))))

    def there(lab: RunningLab) -> str:
        return _lines(lab.ask("GET", "/lab/machines", {}).decode())

    _on(directory, here, there)


def _lines(text: str) -> str:
    return "\n".join(json.dumps(machine) for machine in json.loads(text))


@app.command()
def power(
    vm: Annotated[str, typer.Argument(help="Name or uuid.")],
    state: Annotated[str, typer.Argument(help="Running or Halted.")],
    directory: Directory,
) -> None:
    """Start or halt a machine."""

    def here(lab: Lab) -> str:
        lab.power(vm, state)
        return json.dumps({"state": state})

    def there(lab: RunningLab) -> str:
        return lab.ask("PUT", "/lab/power", {"vm": vm, "state": state}).decode()

    _on(directory, here, there)
