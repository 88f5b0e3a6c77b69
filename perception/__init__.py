"""From pixels to cases: detector, redaction, tracking, localisation, rules, association, evidence, the pipeline."""
