"""The two loops that perform the steps of a run: one blocking, one awaiting."""
