"""Studies: claims of papers, tested at small scale. A function decorated with `@study` returns one; studies of
one kind share a file."""
