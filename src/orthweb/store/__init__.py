"""The store: the files behind the index, wherever they lie: compared with it, cleared of orphans, moved."""
