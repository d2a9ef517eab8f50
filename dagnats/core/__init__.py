"""The pure engine: no I/O, no clock, no chance, no logging. Facts in, commands out."""
