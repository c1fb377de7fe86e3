"""AWS as a person's machine and a site's hosts both see it: sessions, and errors said in one line."""
