"""From a trained model to a Bento that predicts the same."""
