"""The same notebooks headless: parameters, one offline HTML file, and the numbers beside it."""
