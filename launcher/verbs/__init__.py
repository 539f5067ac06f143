"""The verbs of the command line, one module each: its arguments (`add`), and what it does (`run`)."""
