"""Stage `prediction`."""
