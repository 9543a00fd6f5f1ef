"""One action, one file, one function: `run(action, tools)`. A step knows no other."""
