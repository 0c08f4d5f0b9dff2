"""`h5scene get`: properties of scenes."""

from __future__ import annotations

import click

from h5scene.cli.tables import print_columns, print_json
from h5scene.cli.text_safety import printable
from h5scene.cli.texts import json_text, value_text


@click.command("get")
@click.argument("path")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, names: tuple[str, ...], as_json: bool) -> int:
    """Prints properties of a scene, or of all scenes of a file.

    Of one property of one scene only the value is printed: text as it is, all else as JSON.

    \b
    Examples:
      h5scene get runs.h5/sim_000000
      h5scene get runs.h5/sim_000000 dt
      h5scene get runs.h5 dt viscosity

    Exit status: 0 printed; 1 there is no such scene or property, or the file cannot be read;
    2 wrong arguments.
    """
    from h5scene.errors import NotFoundError
    from h5scene.format.names import listed
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.handling.summaries import json_value
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) > 1:
        raise click.UsageError(f"{path} is no scene; give FILE or FILE/SCENE")
    with SceneFile(address.file, "r") as file:
        if address.parts:
            scene = scene_of(file, address.parts[0])
            found = file.properties(scene)
            for name in names:
                if name not in found:
                    raise NotFoundError(
                        f"no property {name!r} in {file.path}/{scene}; {listed(list(found))}"
                    )
            chosen = {name: found[name] for name in names} if names else found
            if as_json:
                print_json(json_value(chosen))
            elif len(names) == 1:
                value = chosen[names[0]]
                click.echo(value if isinstance(value, str) else json_text(value))
            else:
                for name, value in chosen.items():
                    click.echo(f"{printable(name)} = {printable(json_text(value))}")
            return 0
        every = {scene: file.properties(scene) for scene in file.scenes}
    if as_json:
        chosen_of = {
            scene: {n: v for n, v in found.items() if not names or n in names}
            for scene, found in every.items()
        }
        print_json(json_value(chosen_of))
        return 0
    titles = names or tuple(sorted(set().union(*every.values())))
    if names and not any(name in found for found in every.values() for name in names):
        raise NotFoundError(f"no scene of {address.file} has a property {', '.join(names)}")
    rows = [
        [scene, *(value_text(found[n], 40) if n in found else "" for n in titles)]
        for scene, found in every.items()
    ]
    if not titles:
        click.echo("no properties")
        return 0
    print_columns(("scene", *titles), rows, flexible=range(len(titles) + 1))
    return 0
