"""The question we may ask a model (one Protocol) and the models that answer. Nothing else imports torch or transformers."""
