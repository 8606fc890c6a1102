"""The environments; `sdar_gym.registration` lists them. Nothing is imported here."""
