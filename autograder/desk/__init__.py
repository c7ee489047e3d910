"""The student's desk: what one person has done so far, and what helps them on."""
