"""The site without make: `python -m course serve` in the project's folder, on any system.

`lessons`: execute them through nbmake. `pages`: build them with MkDocs, and serve them. `pairs`: keep the two
files of a lesson in step.
"""
