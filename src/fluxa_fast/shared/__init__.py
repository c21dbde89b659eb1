"""What both faces use."""
