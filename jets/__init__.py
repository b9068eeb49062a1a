"""Jets on disk and in memory: files, sparse images, the event-level split (h5py, numpy)."""
