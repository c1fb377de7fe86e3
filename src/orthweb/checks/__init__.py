"""The checks that prove a site: what ``orthweb validate`` runs."""
