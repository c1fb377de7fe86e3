"""What a person needs to be allowed in AWS to deploy and run a site: a table, a policy, a document."""
