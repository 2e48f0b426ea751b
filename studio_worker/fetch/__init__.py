"""HTTP to addresses that strangers name: what may be asked, and how."""
