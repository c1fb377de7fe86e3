"""``orthweb cost``: what a site on AWS costs a month, and where the prices come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orthweb.cli import console
from orthweb.errors import UsageError

if TYPE_CHECKING:
    from orthweb.cost import Estimate, Volumes


def register(app: typer.Typer) -> None:
    """Add the group to the program."""
    cost = typer.Typer(name="cost", help="What a site on AWS costs a month.", invoke_without_command=True)
    cost.callback()(show)
    cost.command()(refresh)
    app.add_typer(cost)


def show(
    context: typer.Context,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="A plan as JSON (terraform show -json PLANFILE); default: the last one of `plan`."),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="Price it in this region.")] = None,
    studies: Annotated[float | None, typer.Option("--studies-per-day", help="New studies a day.", min=0)] = None,
    study_size: Annotated[str | None, typer.Option("--study-size", help="Of one study, such as 250MB.")] = None,
    retention: Annotated[float | None, typer.Option("--retention-years", help="How long studies stay.", min=0)] = None,
    months: Annotated[int | None, typer.Option("--months", help="The site's age in the month shown.", min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON.")] = False,
) -> None:
    """Estimate what the planned resources cost a month, with the volumes that the site file states."""
    if context.invoked_subcommand is not None:
        return
    from orthweb.cost import estimate
    from orthweb.cost.plan import read
    from orthweb.cost.prices import known

    given: dict[str, Any] = {
        "studies_per_day": studies,
        "study_size": _size(study_size),
        "retention_years": retention,
        "months": months,
    }
    volumes = replace(_stated(), **{key: value for key, value in given.items() if value is not None})
    found = estimate(read(plan or _state() / "aws" / "plan.json"), volumes, known(_refreshed()), region)
    if json:
        console.facts(found.document())
    else:
        _print(found)


def refresh(
    region: Annotated[
        list[str] | None, typer.Option("--region", help="A region; can be given more than once; default: all known.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the table to this file, not to the state folder.")
    ] = None,
    server: Annotated[str | None, typer.Option("--server", hidden=True)] = None,
) -> None:
    """Read today's prices from AWS's public price list (no credentials; EC2's list has hundreds of MB a region)."""
    import httpx

    from orthweb.cost import pricelist
    from orthweb.cost.prices import known

    table = known(_refreshed())
    missing: dict[str, list[str]] = {}
    count = 0
    with httpx.Client(timeout=60, follow_redirects=True) as client, console.steps() as report:
        for place in region or table.regions:
            found = pricelist.refresh(table.items, place, client, report, server or pricelist.SERVER)
            table = table.updated(found.prices)
            count += len(found.prices)
            for item in found.missing:
                missing.setdefault(item, []).append(place)
    where = output or _refreshed()
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(table.text(), encoding="utf-8")
    for item, places in missing.items():
        console.note(f"{item}: not found, or not in one way, in {', '.join(places)}: its old price stays")
    console.out(f"{console.count(count, 'price')} read from AWS's price list into {where}")


def _state() -> Path:
    from orthweb.state import FOLDER_NAME

    return console.settings.site_file.absolute().parent / FOLDER_NAME


def _refreshed() -> Path:
    return _state() / "aws" / "prices.json"


def _stated() -> Volumes:
    """Take the volumes from the site file."""
    from orthweb.cost import Volumes
    from orthweb.sitefile import load

    stated = load(console.settings.site_file).aws.volumes
    return Volumes(
        studies_per_day=stated.studies_per_day,
        study_size=int(stated.study_size),
        instance_size=int(stated.instance_size),
        retention_years=stated.retention_years,
        retrievals=stated.retrievals,
    )


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise UsageError(f"--study-size: {text}: should be a size such as 250MB") from None


def _print(found: Estimate) -> None:
    for service, usd in found.services:
        console.out(f"{service:<24} {usd:>10,.2f}")
        for line in found.lines:
            if line.service == service and line.usd >= 0.005:
                console.out(f"  {line.what:<48} {line.usd:>10,.2f}")
    when = f"after {console.count(found.volumes.months, 'month')}"
    console.out(f"{'US dollars a month':<24} {found.total:>10,.2f}   {found.region}, {when}")
    console.out()
    course = ", ".join(f"{_age(months)} ${usd:,.0f}" for months, usd in found.course)
    console.out(f"As the archive grows: {course} a month.")
    console.out("Assumed:")
    for sentence in found.assumptions:
        console.folded("  - ", sentence, 4)
    for warning in found.warnings:
        console.folded("warning: ", warning, 9, to=console.note)


def _age(months: int) -> str:
    return f"{months // 12} y" if months % 12 == 0 else f"{months} mo"
