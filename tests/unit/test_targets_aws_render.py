"""Terraform's variables and the hosts' site file, from the site file; and the folder that Terraform works in."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from orthweb.image import context
from orthweb.render import terraform
from orthweb.site import Site
from orthweb.sitefile import parse
from orthweb.targets.aws import work

ASKED = 'https_from = ["203.0.113.0/24"]\ndicom_from = ["198.51.100.0/24", "192.0.2.0/28"]\n'
REPOSITORY = Path(__file__).parents[2]


def site(text: str = "", top: str = "") -> Site:
    return parse(f'{top}target = "aws"\n[aws]\n{ASKED}{text}', Path("site.toml"))[0]


def variables(found: Site, **more: Any) -> dict[str, Any]:
    return terraform.variables(found, region="eu-central-1", image_tag="1.0", **more)


def declared() -> set[str]:
    return set(re.findall(r'^variable "(\w+)"', (REPOSITORY / "terraform/variables.tf").read_text(), re.MULTILINE))


def test_variables_when_rendered_then_are_all_that_terraform_has_but_the_secret_ones() -> None:
    assert set(variables(site())) == declared() - {"admin_password", "tls_certificate", "tls_key"}


def test_variables_when_the_site_file_says_something_then_have_it_in_terraform_s_units() -> None:
    found = variables(site('disk = "100GiB"\ntopology = "ha"\nzones = 3\n[aws.database]\nstorage = "100000MB"\n'))
    assert found["dicom_cidr_blocks"] == ["198.51.100.0/24", "192.0.2.0/28"]
    assert (found["disk_size"], found["topology"], found["zone_count"]) == (100, "ha", 3)
    assert found["database_storage"] == 94
    assert found["hostname"] is None
    json.dumps(found)


def test_variables_when_the_account_is_known_then_terraform_may_work_in_no_other() -> None:
    assert variables(site(), account="123456789012")["account_id"] == "123456789012"
    assert variables(site())["account_id"] is None


def test_variables_when_images_are_in_the_database_then_there_is_no_s3_storage() -> None:
    assert variables(site('[store]\nkind = "database"\n'))["use_s3_storage"] is False


def test_images_when_given_then_are_not_those_of_the_site_s_repositories() -> None:
    upstream = variables(site('[archive]\nimage = "upstream"\n'))["images"]
    assert list(upstream) == ["archive"]
    both = variables(
        site('[aws.images]\narchive = "r.example.org/a:1"\nedge = "r.example.org/e:1"\n[archive]\nimage = "upstream"\n')
    )
    assert both["images"] == {"archive": "r.example.org/a:1", "edge": "r.example.org/e:1"}


MODALITIES = """
modality_networks = ["10.1.0.0/16", "10.2.0.0/16"]
[modalities.ct]
aet = "CT"
host = "192.0.2.20"
port = 104
[modalities.named]
aet = "NAMED"
host = "named.example.org"
port = 2762
[modalities.six]
aet = "SIX"
host = "2001:db8::1"
port = 2762
"""


def test_modalities_when_the_archive_may_send_to_them_then_each_has_its_range() -> None:
    found = site(MODALITIES)
    assert variables(found)["modality_endpoints"] == [
        {"name": "ct", "cidr": "192.0.2.20/32", "port": 104},
        {"name": "named", "cidr": "10.1.0.0/16", "port": 2762},
        {"name": "named-2", "cidr": "10.2.0.0/16", "port": 2762},
    ]
    assert terraform.unreachable_modalities(found) == ["six"]


def test_site_file_of_hosts_when_all_is_default_then_says_the_name_alone() -> None:
    assert terraform.host_site_file(site()) == 'name = "orthweb"\n'


def test_site_file_of_hosts_when_much_is_said_then_has_what_matters_there_and_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "ct-ca.pem").write_text("x")
    text = """
hostname = "pacs.example.org"
name = "clinic"
target = "aws"
[aws]
https_from = ["203.0.113.0/24"]
dicom_from = ["203.0.113.0/24"]
[edge]
max_body = "1GiB"
[dicom]
aet = "CLINIC"
[archive]
image = "upstream"
writers = 2
[tls]
client_certificates = "required"
[s3]
cache = "8GiB"
[modalities.ct-1]
aet = "CT1"
host = "192.0.2.20"
port = 104
ca = "ct-ca.pem"
allow = []
"""
    written = terraform.host_site_file(parse(text, tmp_path / "site.toml")[0])
    assert tomllib.loads(written) == {
        "name": "clinic",
        "hostname": "pacs.example.org",
        "edge": {"max_body": "1GiB"},
        "tls": {"client_certificates": "required"},
        "dicom": {"aet": "CLINIC"},
        "archive": {"writers": 2},
        "s3": {"cache": "8GiB"},
        "modalities": {
            "ct-1": {"aet": "CT1", "host": "192.0.2.20", "port": 104, "ca": "modality-ct-1.pem", "allow": []}
        },
    }
    (tmp_path / "modality-ct-1.pem").write_text("x")
    parse(written, tmp_path / "host.toml")


def test_site_file_of_hosts_when_a_default_is_written_out_then_is_the_same() -> None:
    assert terraform.host_site_file(site('[dicom]\naet = "ORTHANC"\n')) == terraform.host_site_file(site())


def test_work_when_written_then_holds_the_modules_the_variables_and_where_the_state_is(tmp_path: Path) -> None:
    work.write(tmp_path, {"name": "pacs"}, work.backend("pacs", "eu-central-1", None))
    assert (tmp_path / "modules/compute/user_data.yaml.tftpl").is_file()
    assert not (tmp_path / "README.md").exists()
    assert work.known_variables(tmp_path) == {"name": "pacs"}
    state = json.loads((tmp_path / work.BACKEND).read_text())
    assert state == {"terraform": {"backend": {"local": {"path": "../terraform.tfstate"}}}}
    assert stat.S_IMODE((tmp_path / work.VARIABLES).stat().st_mode) == 0o600


def test_work_when_a_module_is_gone_then_its_files_go_and_terraform_s_own_stay(tmp_path: Path) -> None:
    state = work.backend("pacs", "eu-central-1", None)
    work.write(tmp_path, {}, state)
    (tmp_path / "modules/old").mkdir()
    (tmp_path / "modules/old/main.tf").write_text("")
    (tmp_path / ".terraform.lock.hcl").write_text("kept")
    work.write(tmp_path, None, state)
    assert not (tmp_path / "modules/old/main.tf").exists()
    assert (tmp_path / ".terraform.lock.hcl").read_text() == "kept"
    assert work.known_variables(tmp_path) == {}


def test_backend_when_a_bucket_is_named_then_is_locked_and_encrypted_in_the_bucket_s_region() -> None:
    [kind] = work.backend("pacs", "eu-central-1", "states", "us-east-1")["terraform"]["backend"].values()
    assert kind == {
        "bucket": "states",
        "key": "orthweb/pacs/terraform.tfstate",
        "region": "us-east-1",
        "encrypt": True,
        "use_lockfile": True,
    }


def test_init_when_the_configuration_changes_then_is_due_again(tmp_path: Path) -> None:
    work.write(tmp_path, {}, work.backend("pacs", "eu-central-1", None))
    (tmp_path / ".terraform").mkdir()
    assert not work.initialised(tmp_path, "Terraform 1.11.4")
    work.note_initialised(tmp_path, "Terraform 1.11.4")
    assert work.initialised(tmp_path, "Terraform 1.11.4")
    assert not work.initialised(tmp_path, "Terraform 1.12.0")
    work.write(tmp_path, {}, work.backend("pacs", "eu-central-1", "states"))
    assert not work.initialised(tmp_path, "Terraform 1.11.4")


def test_configuration_when_a_person_ran_terraform_in_the_folder_then_only_sources_are_taken(tmp_path: Path) -> None:
    for name in (
        "main.tf",
        "modules/a/main.tf",
        "modules/a/x.tftpl",
        ".terraform/modules/x/main.tf",
        "terraform.tfstate",
        "mine.auto.tfvars",
        "modules/a/.terraform/main.tf",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert set(context.configuration(tmp_path)) == {"main.tf", "modules/a/main.tf", "modules/a/x.tftpl"}


def test_package_when_built_then_has_all_of_the_configuration() -> None:
    import tomllib as toml

    included = toml.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "force-include"
    ]
    for name in context.configuration(REPOSITORY / "terraform"):
        top = f"terraform/{name.partition('/')[0]}"
        assert included[top] == f"orthweb/{top}"
