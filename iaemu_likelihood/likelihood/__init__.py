"""The likelihood of measured correlation functions, without any framework around it."""
