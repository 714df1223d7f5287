"""Listeners to the events of a run, one sink a file."""
