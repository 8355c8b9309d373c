"""Drawn, seeded vision-language data for the study of forgetting (docs/lab.md)."""
