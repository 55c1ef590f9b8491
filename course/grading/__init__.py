"""Graded exercises with nbgrader, and the way to Moodle and back: for teachers, not for the site.

- `assignments`: an nbgrader source and release of each lesson's exercises, and of a variant of each
- `hidden`: what a hidden test asks; runs in the kernel that grades
- `moodle`: Moodle's zip of submissions in; grades and a zip of feedback out
- `marking`: nbgrader's autograding and feedback, one pupil after the other

The exercises, their checks and their usual mistakes are `vit.course`'s; the texts are the lessons'.
"""
