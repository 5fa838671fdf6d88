"""Stage `anat`."""
