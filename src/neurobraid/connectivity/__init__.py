"""Stage `connectivity`: regional series without nuisance, and matrices of how regions go together."""
