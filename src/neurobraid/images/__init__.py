"""Images, grids, transforms and resampling shared by several stages."""
