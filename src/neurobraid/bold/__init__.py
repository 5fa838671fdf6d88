"""Stage `bold`."""
