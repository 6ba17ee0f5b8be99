"""Studies: claims of papers, tested at small scale. One file a study; its function, decorated with `@study`, returns
it."""
