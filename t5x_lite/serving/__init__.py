"""A model behind HTTP: requests that join and leave one running batch, in OpenAI's format."""
