"""Stage `activation`: from a preprocessed task run to maps of runs, participants and the group."""
