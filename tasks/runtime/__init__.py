"""What training and serving share to the bit: one decoder, one set of extractors, one predictor.

No TensorFlow here but in `saved_model`, which is loaded only where a package needs it.
"""
