"""The command line: parses words, opens the doors' tools, renders values."""
