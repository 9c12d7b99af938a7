"""A story on this one computer, with a real S3 server on loopback: `python -m s32s_agent.demo`.

Whatever is shown was done by the real program, run as a process. Every claim is looked up, on the disk and in S3; the
first one that is not true ends the demo with status 1. The user's own AWS set-up takes no part, and nothing stays
behind.
"""
