"""A prefix in S3 as source and as target."""
