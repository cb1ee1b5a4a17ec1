"""The HTTP door: JSON in and out, RFC 9457 problems, one URL table in ``routes``."""
