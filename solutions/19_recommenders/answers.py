"""Wrong and right answers that prove the hidden tests of module 19, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""
