"""One file a data set, found by itself: see `data_prep.dataset.Dataset`."""
