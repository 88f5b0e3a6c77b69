"""The trainer's room: data preparation, training, evaluation, export and the cards of detectors."""
