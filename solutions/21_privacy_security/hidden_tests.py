"""Hidden tests of module 21."""
