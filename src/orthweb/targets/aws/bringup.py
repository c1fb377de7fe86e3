"""Bring a site up on AWS: apply what was planned, push the images meanwhile, wait for the hosts and for the site."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from orthweb.access import SiteAccess
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.image import Role
from orthweb.image.engine import Engine
from orthweb.targets.aws import cautions, changes, hosts, images, planning, power, reaching
from orthweb.targets.aws.hosts import FAILED_SECONDS, READY_SECONDS, Waiting
from orthweb.targets.aws.place import Place
from orthweb.targets.aws.planning import Planned, Ready
from orthweb.targets.aws.progress import Progress
from orthweb.targets.base import Done, PlanItem, Report, quiet
from orthweb.targets.host import folder

ANSWER_SECONDS: Final = 180.0
"""So long the site may take to answer from outside once its hosts say that they serve: DNS, the load balancer."""

Probe = Callable[[SiteAccess], str | None]


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds.

    Parameters
    ----------
    ready : for the hosts; failed : for one that says it failed; answer : for the site, once the hosts serve.
    """

    ready: float = READY_SECONDS
    failed: float = FAILED_SECONDS
    answer: float = ANSWER_SECONDS


class Bringup:
    """One call of `plan` or `up`.

    Parameters
    ----------
    probe : asks the site from outside; None when it answers, else what is wrong.
    """

    def __init__(
        self,
        place: Place,
        report: Report = quiet,
        *,
        probe: Probe = reaching.ready,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place = place
        self._report = report
        self._probe = probe
        self._patience = patience or Patience()
        self._sleep = sleep

    def plan(self) -> tuple[list[PlanItem], list[str]]:
        """Say what `up` would change, and what sums it up; the account is not touched.

        Raises
        ------
        UsageError, AwsError, TerraformError : see `planning`.
        """
        place = self._place
        planning.check_target(place)
        folder.make_root(place.base)
        with folder.locked(place.state, self._report):
            ready = planning.prepare(place, self._report)
            roles = images.lacking(ready.session, place.site, ready.image_tag)
            planned = planning.plan(place, ready, self._report)
            return self._items(ready, planned, roles), planned.summary

    def up(self) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed.

        Raises
        ------
        UsageError, SiteFileError : nothing was changed.
        OrthwebError : what failed; the call can be repeated and goes on there.
        """
        place = self._place
        planning.check_target(place)
        folder.make_root(place.base)
        with folder.locked(place.state, self._report):
            ready = planning.prepare(place, self._report, applying=True)
            roles = images.lacking(ready.session, place.site, ready.image_tag)
            engine = images.engine_for(roles)
            known = place.memory()
            started = power.start(ready.session, place.site.name, self._report) if known.known else []
            planned = planning.plan(place, ready, self._report)
            items = self._items(ready, planned, roles)
            for line in [f"! {each.what}: {each.why}" for each in cautions.lost(planned.gone)] + planned.summary:
                self._report(Done(line))
            # From now on there may be something in the account.
            place.remember(replace(ready.memory, outputs=known.outputs))
            planning.note_applied(place)
            with _Pushing(lambda stop: self._push(ready, engine, roles, stop)) as pushing:
                try:
                    if planned.changes:
                        ready.terraform.apply(Progress(self._report, len(planned.changes)).message, ready.given)
                except BaseException:
                    # What is known of half a site: `status`, `logs` and `destroy` work with it.
                    with contextlib.suppress(OrthwebError):
                        half = {**known.outputs, **ready.terraform.outputs()}
                        place.remember(replace(ready.memory, outputs=half))
                    raise
                outputs = ready.terraform.outputs()
                place.remember(replace(ready.memory, outputs=outputs))
                pushing.wait(self._report)
            group = str(outputs.get("autoscaling_group") or "")
            patience = self._patience
            Waiting(
                ready.session,
                place.site.name,
                group,
                self._report,
                sleep=self._sleep,
                patience=patience.failed,
                deadline=patience.ready,
            ).run()
            hosts.forget_gone(ready.session, place.site.name)
            self._report("fetching password and certificates")
            reaching.fetch(ready.session, place)
            self._answer(str(outputs.get("dns_target") or ""))
            return started + items

    def _push(self, ready: Ready, engine: Engine | None, roles: Sequence[Role], stop: threading.Event) -> None:
        if engine is None or not roles:
            return
        images.build(engine, list(roles), lambda line: self._report(f"image {line}"))
        images.push(ready.session, engine, self._place.site, list(roles), ready.image_tag, self._report, stop)

    def _items(self, ready: Ready, planned: Planned, roles: Sequence[Role]) -> list[PlanItem]:
        site = self._place.site
        items = [*cautions.lost(planned.gone), *changes.items(planned.changes)]
        items += [
            PlanItem(
                "create", f"image {site.name}/{role}:{ready.image_tag}", "built here, pushed to the site's repository"
            )
            for role in roles
        ]
        return [*items, *cautions.moved(site, planned.changes), *cautions.warnings(site)]

    def _answer(self, dns_target: str) -> None:
        """Wait for the first verified answer from outside."""
        found = reaching.access(self._place)
        deadline = time.monotonic() + self._patience.answer
        own = self._place.site.hostname != "localhost" and self._place.site.aws.hosted_zone is None
        said = not (own and dns_target)
        while (problem := self._probe(found)) is not None:
            if not said:
                said = True
                self._report(Done(f"DNS: {found.host} has to point to {dns_target}, if it does not yet"))
            if time.monotonic() > deadline:
                hint = "orthweb status, orthweb logs"
                if self._place.site.hostname != "localhost" and dns_target:
                    hint = f"does {found.host} point to {dns_target} in DNS, and may this machine reach it?"
                elif "HTTPS" in problem:
                    hint = "is this machine in aws.https_from and aws.dicom_from? orthweb status shows the hosts"
                raise NotRunningError(f"the hosts serve, and the site does not answer here: {problem}", hint)
            self._report(f"waiting for the first answer: {problem}")
            self._sleep(3.0)


class _Pushing:
    """Pushes images in a thread while something else makes the repositories."""

    def __init__(self, work: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> _Pushing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A push that is on its way ends with the program; the next call finds what it left.
        self._stop.set()

    def wait(self, report: Report) -> None:
        """Wait for the end; raise what went wrong."""
        if self._thread.is_alive():
            report("waiting for the images to be pushed")
        self._thread.join()
        if self._error is not None:
            if isinstance(self._error, OrthwebError):
                raise self._error
            raise OrthwebError(f"images: {self._error}", "orthweb up can be repeated") from self._error
