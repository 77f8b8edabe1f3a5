"""The settings: what they are (``sections``, ``originate``), where they come from (``sources``), how they are loaded
(``settings.load``), and what they look like in the documentation (``describe``)."""
