"""What a run leaves behind: metrics.jsonl, TensorBoard events, plots, and report.json / .md / .html."""
