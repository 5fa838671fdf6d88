"""Stage `activation`."""
