"""What the tests share: servers, buckets, the agent as a process, directory trees. No test is here."""
