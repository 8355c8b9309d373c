"""The base model of the study: a small Qwen2.5-VL, trained from scratch on the drawn data."""
