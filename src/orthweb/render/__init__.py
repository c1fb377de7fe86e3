"""Site (and where its parts lie) to text: pure functions, one module a program that reads the result.

Nothing here touches the machine: the same input gives the same text, so that golden files show every change
of output, and each program's own validator judges the text before it is used.
"""
