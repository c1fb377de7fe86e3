"""``orthweb policy``: the IAM policy of the person who deploys a site on AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(policy)


def policy(
    region: Annotated[
        str | None, typer.Option("--region", help="The site's region; default: aws.region of the site file.")
    ] = None,
    account: Annotated[str, typer.Option("--account", help="The account's id; default: whichever it is in.")] = "*",
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Only for what this plan has (terraform show -json PLANFILE).")
    ] = None,
    production: Annotated[
        bool | None,
        typer.Option("--production/--no-production", help="Without, or with, what deletes images and backups."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the documents into this folder, one file each.")
    ] = None,
) -> None:
    """Print the least-privilege IAM policy for deploying this site on AWS, as JSON: a list of documents."""
    from orthweb.permissions.actions import LOCAL
    from orthweb.permissions.policy import documents
    from orthweb.permissions.resources import TYPES
    from orthweb.permissions.scope import Scope
    from orthweb.sitefile import load

    site = load(console.settings.site_file)
    place = region or site.aws.region
    if place is None:
        raise UsageError("the policy is for one region", "name it with --region, or as aws.region in the site file")
    types = None
    if plan is not None:
        from orthweb.cost.plan import read

        types = {resource.type for resource in read(plan).resources} - LOCAL
        if unknown := sorted(types - TYPES.keys()):
            raise UsageError(f"{plan}: {', '.join(unknown)}: orthweb does not know what this needs", "call it without")
    scope = Scope(
        site.name,
        place,
        account,
        zone=site.aws.hosted_zone or "*",
        state_bucket=site.aws.state_bucket,
        snapshot=site.aws.database.snapshot,
        production=site.aws.production if production is None else production,
    )
    found = documents(scope, types)
    if output is None:
        console.facts(found)
        return
    output.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(found, start=1):
        path = output / f"{site.name}-deploy-{number}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        console.out(str(path))
