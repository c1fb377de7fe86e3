"""What a site on AWS does for the technical safeguards of HIPAA: data that tests hold against checks and modules."""
