"""Between the web server and the protocols: what every request passes through on its way in and out."""
