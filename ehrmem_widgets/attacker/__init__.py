"""What the attacker knows: facts and their precision, the prompt that they make, and how many people fit them."""
