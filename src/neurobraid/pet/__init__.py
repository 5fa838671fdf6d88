"""Stage `pet`."""
