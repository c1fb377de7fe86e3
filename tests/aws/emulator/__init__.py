"""An AWS account for tests: moto as a server of its own, with what it lacks added, and an account of every call.

moto stands in for AWS alone; Terraform, its AWS provider, boto3 and what else talks to it are the real ones.

    with emulator(folder) as aws:
        aws.url                                  # what AWS_ENDPOINT_URL says
        aws.environment("eu-central-1")          # the variables for Terraform, boto3 and the AWS command line
        aws.client("rds")                        # a boto3 client of it
        aws.database("site-index", address="127.0.0.1", port=5433, status="available")
        aws.registry("127.0.0.1:5000")           # the host that ECR's repositories and logins name, from now on
        aws.refuse("ec2:CreateVpc", "VpcLimitExceeded")   # answered with this error of AWS, until told otherwise
        aws.calls(), aws.failures()              # what was asked; what moto has no answer for
        aws.resources()                          # what lies in the account and costs or stays

``aws.check()`` fails with the names of the operations that moto does not know or broke at: a client takes such an
answer for an outage and asks again for minutes.
"""

from __future__ import annotations

from aws.emulator.account import ACCOUNT, REGION, Call, Emulator, emulator

__all__ = ["ACCOUNT", "REGION", "Call", "Emulator", "emulator"]
