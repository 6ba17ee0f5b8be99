"""Published families: their checkpoints into our layout and back, one file each."""
