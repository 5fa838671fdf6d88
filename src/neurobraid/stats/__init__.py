"""Statistics that maps and edges share: permutation of a linear model, clusters, TFCE, all-resolution inference."""
