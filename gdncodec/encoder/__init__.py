"""Every choice of the encoder that the decoder does not see."""
