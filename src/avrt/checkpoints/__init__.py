"""Forms of Qwen2.5-Omni on disk; the adapter of Audio Flamingo 3, merged."""
