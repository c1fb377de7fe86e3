"""AWS Secrets Manager: the value of a secret is that of the version that AWSCURRENT is moved to; moto keeps the old."""

from __future__ import annotations

from typing import Any

from moto.secretsmanager.models import SecretsManagerBackend

from aws.emulator.patches import replaces


@replaces(SecretsManagerBackend)
def update_secret_version_stage(former: Any, self: Any, secret_id: str, **named: Any) -> Any:
    answer = former(self, secret_id, **named)
    secret = self.secrets[secret_id]
    current = [name for name, version in secret.versions.items() if "AWSCURRENT" in version["version_stages"]]
    secret.set_default_version_id(current[0] if current else None)
    return answer
