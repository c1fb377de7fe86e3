"""The database that RDS runs: whether it can be reached yet, where, and which secret its master's password is in."""

from __future__ import annotations

from dataclasses import dataclass

from orthweb.host.account import AwsAccount, AwsError, told

AWAY = frozenset({"creating", "deleting", "failed", "stopped", "stopping", "starting", "restore-error"})
"""States in which nothing answers; in all others (available, backing-up, modifying, ...) the database serves.

Source: Amazon RDS User Guide, "Viewing Amazon RDS DB instance status".
"""


@dataclass(frozen=True)
class Rds:
    """An RDS instance that serves.

    Parameters
    ----------
    master_secret : ARN of the secret with its master's name and password.
    zone : the availability zone that it is in now.
    """

    host: str
    port: int
    master_secret: str
    zone: str


def find(account: AwsAccount, identifier: str) -> Rds | str:
    """Look for an RDS instance; give what it is waited for while it does not serve yet.

    Raises
    ------
    AwsError : AWS does not say.
    """
    try:
        with told(f"database {identifier}"):
            answer = account.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)
    except AwsError as error:
        if error.code.startswith("DBInstanceNotFound"):
            return f"database {identifier}: is not there yet"
        raise
    found = answer["DBInstances"][0]
    status, endpoint = str(found.get("DBInstanceStatus", "")), found.get("Endpoint") or {}
    secret = (found.get("MasterUserSecret") or {}).get("SecretArn", "")
    if status in AWAY or status.startswith(("incompatible", "inaccessible")) or not endpoint.get("Address"):
        return f"database {identifier}: {status or 'no endpoint yet'}"
    if not secret:
        return f"database {identifier}: its master's secret is not there yet"
    return Rds(str(endpoint["Address"]), int(endpoint["Port"]), str(secret), str(found.get("AvailabilityZone", "")))
