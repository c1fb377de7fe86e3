"""The agent of a host on AWS: it runs in the ops image, makes the instance serve its site, and keeps it that way.

What it knows of the site comes from the account: parameters (Systems Manager) say what the site is, secrets (Secrets
Manager) what nobody may read, RDS where the index is. Nothing of that lies on the disk; the state folder is in memory.
"""
