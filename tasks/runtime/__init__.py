"""What training and serving share to the bit: one decoder, one set of extractors, one predictor. No TensorFlow here."""
