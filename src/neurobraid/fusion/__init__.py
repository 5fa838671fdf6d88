"""Stage `fusion`."""
