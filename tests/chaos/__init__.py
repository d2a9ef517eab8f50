"""Workers killed again and again while long handlers run: what was lost, what was doubled, how long it took."""
