"""Stage `bids`."""
