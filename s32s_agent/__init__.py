"""Keep directories on many servers equal to prefixes in S3, unattended."""

__version__ = "0.1.0"
