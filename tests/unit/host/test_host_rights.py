"""What the role of a host allows, against what the host asks for."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]

OF_OTHERS = {
    "the archive and its store": "s3:",
    "services on the host's behalf": "kms:",
    "Docker, which pulls": "ecr:Batch ecr:GetDownloadUrlForLayer",
    "Session Manager's agent": "ssmmessages: ssm:UpdateInstanceInformation",
    "EC2": "sts:AssumeRole",
}
"""Who else of a host uses its role, and the beginnings of what they may do."""


def methods() -> str:
    """Give the agent's own text, in which boto3's methods are named."""
    return "".join(path.read_text() for path in (REPOSITORY / "src/orthweb/host").glob("*.py"))


def test_role_allows_the_agent_nothing_that_it_does_not_ask_for() -> None:
    text = (REPOSITORY / "terraform/modules/compute/identity.tf").read_text()
    actions = set(re.findall(r'"([a-z0-9]+:[A-Z][A-Za-z]+)"', text))
    assert len(actions) > 20
    others = tuple(" ".join(OF_OTHERS.values()).split())
    source = methods()
    unused = []
    for action in sorted(actions):
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", action.partition(":")[2]).lower().replace("d_b_", "db_")
        if not action.startswith(others) and f".{method}(" not in source and f'"{method}"' not in source:
            unused.append(action)
    assert unused == []
