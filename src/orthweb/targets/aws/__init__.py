"""The AWS target: a site in an AWS account, made by Terraform and looked after by its own hosts."""

from orthweb.targets.aws.target import AwsTarget

__all__ = ["AwsTarget"]
