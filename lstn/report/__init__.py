"""Reports: tables for a terminal and a page, charts, and the page itself. Loads no stage."""
