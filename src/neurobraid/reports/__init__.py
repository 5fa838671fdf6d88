"""Stage `reports`."""
