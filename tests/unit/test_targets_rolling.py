"""Processes in their turn: what is told to the edge and when, and where it stops."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from orthweb.capabilities.build import OrthancBuild, Plugin
from orthweb.errors import OrthwebError, SiteFileError
from orthweb.render import envoy_replicas, orthanc
from orthweb.render.endpoints import ArchiveProcess, EdgeEndpoint, Endpoints, IndexEndpoint
from orthweb.site import Index, Site
from orthweb.targets.host import rolling
from orthweb.targets.local.replicas import only_replicas

OLD = OrthancBuild(Path("Orthanc"), (1, 10, 1), [Plugin("PostgreSQLIndex", Path("index.so"), (4, 0))])
NEW = OrthancBuild(Path("Orthanc"), (1, 12, 9), [Plugin("PostgreSQLIndex", Path("index.so"), (10, 3))])


def endpoints(*names: str, tmp_path: Path) -> Endpoints:
    top = Path("/srv/site/.orthweb")
    archives = []
    for number, name in enumerate(names):
        reads = name.startswith("reader")
        port = 20000 + 10 * number
        archives.append(
            ArchiveProcess(
                name,
                "reader" if reads else "writer",
                top / name,
                top / name / "work",
                "127.0.0.1",
                port,
                None if reads else port + 1,
            )
        )
    return Endpoints(
        archives=tuple(archives),
        index=IndexEndpoint(top / "index", top / "index/data", top / "run/index", 20500),
        edge=EdgeEndpoint(top / "edge", tmp_path / "nobody.sock", ("127.0.0.1",), 8443, 11112),
        store=top / "store",
        check_aet="CHECK",
        egress={"orthweb-check": 20600},
    )


class Told:
    """What the edge was told, in order, with what was done to the processes between."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def tell(self, draining: Collection[str]) -> None:
        self.steps.append(f"drain {' '.join(draining)}" if draining else "use all")

    def restart(self, name: str) -> None:
        self.steps.append(f"restart {name}")


def roll(names: Sequence[str], told: Told, *, tmp_path: Path, broken: str | None = None) -> None:
    site = endpoints("archive", "archive-2", "reader", tmp_path=tmp_path)
    edge = rolling.Edge(site.edge.admin, site.archives, told.tell)

    def ready(name: str) -> str | None:
        if name == broken:
            raise OrthwebError(f"{name} does not start")
        return None

    rolling.roll(names, edge, told.restart, ready, lambda _line: None)


def test_roll_when_all_come_back_then_each_is_drained_restarted_and_used_before_the_next(tmp_path: Path) -> None:
    told = Told()
    roll(["reader", "archive"], told, tmp_path=tmp_path)
    assert told.steps == [
        *("drain reader", "restart reader", "use all"),
        *("drain archive", "restart archive", "use all"),
    ]


def test_roll_when_one_does_not_come_back_then_it_stays_out_of_use_and_the_next_is_not_touched(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(OrthwebError, match="reader does not start"):
        roll(["reader", "archive"], told, tmp_path=tmp_path, broken="reader")
    assert told.steps == ["drain reader", "restart reader"]


def test_retired_when_a_process_leaves_then_it_drains_in_every_file_and_the_others_stay(tmp_path: Path) -> None:
    before = endpoints("archive", "reader", "reader-2", tmp_path=tmp_path)
    after = endpoints("archive", "reader", tmp_path=tmp_path)
    files, gone = rolling.retired(envoy_replicas.eds_files(before), envoy_replicas.eds_files(after))
    assert gone == {"127.0.0.1:20020"}
    assert list(files) == ["archive-readers.json"]
    [resource] = json.loads(files["archive-readers.json"])["resources"]
    states = [
        (entry["endpoint"]["address"]["socket_address"]["port_value"], entry["health_status"])
        for group in resource["endpoints"]
        for entry in group["lb_endpoints"]
    ]
    assert states == [(20010, "HEALTHY"), (20020, "DRAINING"), (20000, "HEALTHY")]


def test_assignments_when_there_are_readers_then_writers_step_in_for_them_and_never_the_other_way(
    tmp_path: Path,
) -> None:
    found = envoy_replicas.assignments(endpoints("archive", "reader", tmp_path=tmp_path))
    ports = {
        cluster: [
            [entry["endpoint"]["address"]["socket_address"]["port_value"] for entry in group["lb_endpoints"]]
            for group in assignment["endpoints"]
        ]
        for cluster, assignment in found.items()
    }
    assert ports == {"archive": [[20000]], "archive-dicom": [[20001]], "archive-readers": [[20010], [20000]]}


@pytest.mark.parametrize(
    ("count", "text"), [((1, 0), "1 association"), ((2, 1), "2 associations and 1 request"), ((0, 3), "3 requests")]
)
def test_load_when_it_is_told_then_reads_like_a_sentence(count: tuple[int, int], text: str) -> None:
    assert str(rolling.Load(*count)) == text
    assert rolling.Load(*count)
    assert not rolling.Load(0, 0)


PROGRAMS = "[supervisord]\nlogfile=a\n[program:archive]\ncommand=x\n[program:edge]\ncommand=y\n"


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (PROGRAMS + "[program:reader-2]\ncommand=z\n", True),
        (PROGRAMS.replace("[program:archive]\ncommand=x\n", ""), True),
        (PROGRAMS.replace("command=x", "command=z"), False),
        (PROGRAMS.replace("logfile=a", "logfile=b"), False),
        (PROGRAMS + "[program:other]\ncommand=z\n", False),
    ],
    ids=["one more", "one fewer", "another command", "another log", "a stranger"],
)
def test_supervisors_configuration_when_it_changes_then_only_orthancs_that_come_or_go_need_no_restart(
    new: str, expected: bool
) -> None:
    assert only_replicas(PROGRAMS, new) is expected


@pytest.mark.parametrize(
    ("build", "archive", "expected"),
    [
        (OLD, {}, [("archive", 1), ("reader", 4)]),
        (OLD, {"readers": 0}, [("archive", 1)]),
        (OLD, {"writers": 2, "readers": 2}, [("archive", 1), ("archive-2", 1), ("reader", 4), ("reader-2", 4)]),
        (NEW, {}, [("archive", 8)]),
        (NEW, {"readers": 1}, [("archive", 8), ("reader", 8)]),
    ],
)
def test_processes_when_nothing_else_is_asked_for_then_follow_what_the_index_plugin_can(
    build: OrthancBuild, archive: dict[str, int], expected: list[tuple[str, int]]
) -> None:
    site = Site.model_validate({"archive": archive})
    found = orthanc.processes(site, build)
    assert [(name, orthanc.connections(site, role, build)) for name, role in found] == expected


def test_reader_when_the_index_is_on_another_machine_then_has_more_connections_and_the_writer_has_not() -> None:
    site = Site.model_construct(index=Index.model_construct(host="db.example.org", connections=None))
    assert [orthanc.connections(site, role, OLD) for role in ("writer", "reader")] == [1, 8]
    chosen = Site.model_construct(index=Index.model_construct(host="db.example.org", connections=2))
    assert [orthanc.connections(chosen, role, OLD) for role in ("writer", "reader")] == [2, 2]


def test_connections_when_all_processes_together_have_too_many_then_the_error_counts_them() -> None:
    site = Site.model_validate({"archive": {"writers": 4, "readers": 6}, "index": {"connections": 50}})
    with pytest.raises(SiteFileError, match=r"index.connections: 50 for each of 10 processes are 500 connections"):
        orthanc.connection_budget(site, orthanc.processes(site, OLD), OLD)


@pytest.mark.parametrize(("version", "expected"), [((1, 10, 1), None), ((1, 12, 4), None), ((1, 12, 5), True)])
def test_reader_when_orthanc_knows_read_only_then_it_is_told_so(
    version: tuple[int, ...], expected: bool | None, tmp_path: Path
) -> None:
    build = OrthancBuild(Path("Orthanc"), version, OLD.plugins)
    site = endpoints("archive", "reader", tmp_path=tmp_path)
    found = {process.name: json.loads(orthanc.configuration(Site(), site, process, build)) for process in site.archives}
    assert found["reader"].get("ReadOnly") is expected
    assert "ReadOnly" not in found["archive"]
    assert found["reader"]["DicomServerEnabled"] is False
    assert len({config["DatabaseServerIdentifier"] for config in found.values()}) == 2


@pytest.mark.parametrize(("build", "expected"), [(OLD, None), (NEW, "ReadCommitted")])
def test_transactions_when_the_index_plugin_knows_their_mode_then_it_is_read_committed(
    build: OrthancBuild, expected: str | None, tmp_path: Path
) -> None:
    site = endpoints("archive", tmp_path=tmp_path)
    config = json.loads(orthanc.configuration(Site(), site, site.archives[0], build))
    assert config["PostgreSQL"].get("TransactionMode") == expected
