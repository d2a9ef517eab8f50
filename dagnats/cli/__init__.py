"""The command line: thin doors to the library. A command's module is imported when it is used."""
