"""Forms of Qwen2.5-Omni on disk: take the thinker out, put it back, describe it."""
