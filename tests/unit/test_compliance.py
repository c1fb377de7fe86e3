"""What docs/hipaa.md claims exists: every check, every resource, every safeguard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orthweb.checks import catalogue
from orthweb.compliance import hipaa
from orthweb.compliance.rules import ANSWERS, RULES, Rule
from orthweb.compliance.safeguards import SAFEGUARDS, Measure, Safeguard
from orthweb.siteaws import Aws

ROOT = Path(__file__).parents[2]
MEASURES = [measure for safeguard in SAFEGUARDS for measure in safeguard.measures]

PARAGRAPHS = [
    "(a)(1)",
    "(a)(2)(i)",
    "(a)(2)(ii)",
    "(a)(2)(iii)",
    "(a)(2)(iv)",
    "(b)",
    "(c)(1)",
    "(c)(2)",
    "(d)",
    "(e)(1)",
    "(e)(2)(i)",
    "(e)(2)(ii)",
]
"""Of 45 CFR 164.312."""


def addresses() -> set[str]:
    """List the resources that the modules define, without indexes."""
    found = set()
    for file in (ROOT / "terraform/modules").glob("*/*.tf"):
        for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', file.read_text(), flags=re.MULTILINE):
            found.add(f"module.{file.parent.name}.{kind}.{name}")
    return found


def test_safeguards_always_are_all_of_164_312_in_its_order() -> None:
    assert [safeguard.paragraph for safeguard in SAFEGUARDS] == PARAGRAPHS


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.paragraph)
def test_safeguard_always_has_a_measure_and_says_what_remains(safeguard: Safeguard) -> None:
    assert safeguard.measures
    assert safeguard.remains


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.does[:40])
def test_measure_when_it_names_checks_and_resources_names_existing_ones(measure: Measure) -> None:
    assert measure.checks or measure.resources
    assert measure.evidence
    assert set(measure.checks) <= {check.id for check in catalogue.ALL}
    assert set(measure.resources) <= addresses()
    named = set(re.findall(r"--check ([a-z_.0-9]+)", measure.evidence))
    assert named <= {check.id for check in catalogue.ALL}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.resources], ids=lambda rule: rule.check)
def test_rule_when_it_names_resources_names_existing_ones(rule: Rule) -> None:
    assert set(rule.resources) <= addresses()


def test_rules_always_are_each_there_once_with_an_answer_and_a_reason() -> None:
    checks = [rule.check for rule in RULES]
    assert len(checks) == len(set(checks))
    assert all(rule.answer in ANSWERS and rule.reason for rule in RULES)


def test_document_always_is_what_the_code_writes() -> None:
    assert (ROOT / "docs/hipaa.md").read_text() == hipaa.markdown(), (
        "run: python -m orthweb.compliance.hipaa docs/hipaa.md"
    )


@pytest.mark.parametrize("document", ["aws.md", "hipaa.md", "aws-permissions.md"])
def test_document_when_it_names_a_key_of_the_site_file_names_one_that_exists(document: str) -> None:
    named = set(re.findall(r"`aws\.([a-z_]+)", (ROOT / "docs" / document).read_text()))
    assert named
    assert named <= set(Aws.model_fields)
