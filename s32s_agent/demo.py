"""Show the whole story on one machine, with a real S3 server on loopback."""
