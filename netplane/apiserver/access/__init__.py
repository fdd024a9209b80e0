"""Who asks, and what they may: authentication, authorization, and what grants them."""
