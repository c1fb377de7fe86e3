"""``orthweb image``: build the container images, and tell what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console

# The defaults are those of orthweb.image, which is slow to import; a test compares them.
ROLES = ("archive", "edge", "index", "ops")
SUITE = "trixie"

commands = typer.Typer(no_args_is_help=True, help="Build the container images, and tell what is in them.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    app.add_typer(commands, name="image")


@commands.command()
def build(
    base: Annotated[
        str | None,
        typer.Option(help="Image to build on, or: bootstrap (make one from the Debian mirror; needs root)."),
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help=f"Only this one of {', '.join(ROLES)}; may be repeated.")
    ] = None,
    suite: Annotated[str, typer.Option(help="Debian's release.")] = SUITE,
    mirror: Annotated[str | None, typer.Option(help="Debian mirror; by default the one that apt uses.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of the images; by default the version of orthweb.")] = None,
    push: Annotated[
        str | None, typer.Option(help="Push them to this registry and path, as REF/ROLE:TAG.", metavar="REF")
    ] = None,
    sbom: Annotated[Path | None, typer.Option(help="Write software bills of materials into this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Build the images of archive, edge, index and ops from Debian's packages."""
    import dataclasses

    from orthweb import image
    from orthweb.errors import UsageError
    from orthweb.image import engine, host

    unknown = [each for each in role or () if each not in image.ROLES]
    if unknown:
        raise UsageError(f"--role: {unknown[0]}: no such role", f"one of {', '.join(image.ROLES)}")
    if suite not in host.SUITES:
        raise UsageError(f"--suite: {suite}: images are not built from it", f"one of {', '.join(host.SUITES)}")
    roles = [each for each in image.ROLES if not role or each in role]
    options = {} if tag is None else {"tag": tag}
    found = engine.find()
    with console.steps() as report:
        built = image.build(
            found, report, roles=roles, base=base, suite=suite, mirror=mirror, boms=sbom, push=push, **options
        )
    if json:
        console.facts([dataclasses.asdict(each) for each in built])
        return
    rows = [
        (each.pushed or each.reference, f"{each.size / 1e6:.0f} MB", f"{each.seconds:.0f} s", _has(each.labels))
        for each in built
    ]
    console.table(("image", "size", "took", "has"), rows)


@commands.command()
def sbom(
    role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}, or the name of an image of ours.")],
) -> None:
    """Print an image's software bill of materials (CycloneDX 1.6, JSON)."""
    from orthweb import image
    from orthweb.errors import UsageError
    from orthweb.image import contents, engine
    from orthweb.image import sbom as bills

    name = next((image.reference(each) for each in image.ROLES if each == role), role)
    found = engine.find()
    described = found.image(name)
    if described is None:
        raise UsageError(f"{name}: the engine has no such image", "orthweb image build")
    console.out(
        bills.document(described.labels.get("org.orthweb.role", role), name, described, contents.read(found, name))
    )


def _has(labels: object) -> str:
    assert isinstance(labels, dict)
    names = {
        "org.orthweb.orthanc": "Orthanc",
        "org.orthweb.envoy": "Envoy",
        "org.orthweb.postgresql": "PostgreSQL",
        "org.orthweb.orthweb": "orthweb",
    }
    return ", ".join(f"{name} {labels[key]}" for key, name in names.items() if key in labels)
