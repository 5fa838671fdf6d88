"""Stage `connectivity`."""
