"""The act of this program: ask a model about a clip, durably, once."""
