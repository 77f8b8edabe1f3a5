"""What was said: finished recordings go to Gemini, summary and sentiment come back."""
