"""`h5scene set`: properties of a scene."""

from __future__ import annotations

import click

from h5scene.cli.common import counted
from h5scene.cli.text_safety import printable


@click.command("set")
@click.argument("path", metavar="FILE/SCENE")
@click.argument("settings", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--text", is_flag=True, help="Take each VALUE as text, also one that looks like JSON."
)
@click.option("--remove", multiple=True, metavar="NAME", help="Remove this property.")
def command(path: str, settings: tuple[str, ...], text: bool, remove: tuple[str, ...]) -> int:
    """Sets or removes properties of a scene.

    A VALUE that is JSON is stored as that: 0.1, true, [1, 2], "text". All else is text. All changes
    are made at once, or none.

    \b
    Examples:
      h5scene set runs.h5/sim_000000 dt=0.1 note="first try"
      h5scene set runs.h5/sim_000000 code=0042 --text
      h5scene set runs.h5/sim_000000 --remove note

    Exit status: 0 done; 1 there is no such scene or property, or the file cannot be written;
    2 wrong arguments.
    """
    from h5scene.errors import H5SceneError, NotFoundError
    from h5scene.format.json_values import load_json
    from h5scene.format.names import listed
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) != 1:
        raise click.UsageError(f"{path} is no scene; give FILE/SCENE, such as runs.h5/sim_000000")
    if not settings and not remove:
        raise click.UsageError("nothing to do; give NAME=VALUE, or --remove NAME")
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{setting!r} is not like NAME=VALUE")
        values[name] = value
        if not text:
            try:
                values[name] = load_json(value)
            except H5SceneError:
                values[name] = value
    with SceneFile(address.file, "r+") as file, file.transaction():
        scene = scene_of(file, address.parts[0])
        known = file.properties(scene)
        for name in remove:
            if name not in known:
                raise NotFoundError(
                    f"no property {name!r} in {file.path}/{scene}; {listed(list(known))}"
                )
            file.remove_property([scene], name)
        file.put_properties({scene: values})
    done = []
    if values:
        done.append(f"set {counted(len(values), 'property').replace('propertys', 'properties')}")
    if remove:
        done.append(f"removed {', '.join(remove)}")
    click.echo(printable(f"{address.file}/{scene}: {'; '.join(done)}"))
    return 0
