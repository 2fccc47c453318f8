"""Work on the nodes of a Ray cluster: workers that are given pieces and send messages back.

The decision to question: actors of Ray's core, and not Ray Data. A task of Ray Data hands its
results over when it ends, so a worker that dies takes the finished calls of its task with it; with
one question per task, it is far slower than a message to an actor (docs/scale.md has the
measurement). Here the driver decides which worker gets which piece, and commits as results come.
"""
