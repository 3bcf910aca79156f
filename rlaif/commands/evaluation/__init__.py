"""`rlaif evaluate --model`: a model against baselines, outside of any run."""
