"""The course as a static site, to read: the released notebooks, with the figures of their demos."""
