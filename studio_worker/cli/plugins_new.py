"""`studio-worker plugins new`: a package for an engine of one's own, complete, tested and conformant at once."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from studio_worker.cli import output
from studio_worker.cli.generate_fields import KINDS


@click.command(
    "new",
    short_help="Begin a plugin of your own.",
    epilog="Example: studio-worker plugins new plasma --kind image",
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="image",
    show_default=True,
    help="What its engine makes, or hears.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The project's folder, new or empty; studio-worker-NAME here by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def new(name: str, kind: str, folder: Path | None, as_json: bool) -> None:
    """Begin a plugin of your own: a package with a small engine that works, its tests, its README and its CI.

    NAME is what people will call the engine; the package is called studio-worker-NAME. It passes its own tests and
    the conformance kit as it is. Replace the engine by yours, and keep it so.
    """
    from studio_worker.cli.plugins_project import Project, read_new_name

    plain = read_new_name(name)
    project = Project(plain, KINDS[kind], Path(f"studio-worker-{plain}") if folder is None else folder)
    files = project.write()
    commands = [
        f"cd {shlex.quote(str(project.folder))} && python -m pip install --editable '.[test]'",
        "python -m pytest",
        f"studio-worker plugins check {project.distribution}",
    ]
    if as_json:
        output.json_text(
            {
                "name": project.name,
                "kind": project.kind.value,
                "distribution": project.distribution,
                "folder": str(project.folder),
                "files": [path.as_posix() for path in files],
                "next": commands,
            }
        )
        return
    for path in files:
        output.say(str(project.folder / path))
    output.note(
        f"{project.distribution} is ready; the engine is in {project.folder / 'src' / project.module / 'engine.py'}"
    )
    output.note("next:")
    for command in commands:
        output.note(f"  {command}")
