"""What a recipe may say. Pydantic models only: nothing here loads torch."""
